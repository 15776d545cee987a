"""Pages are escaped, and share one style."""

import pytest

from dyhead.pages import printable, render_page


def test_control_characters_are_replaced():
    assert printable("a\x1b[31mb\nc") == "a\N{REPLACEMENT CHARACTER}[31mb\nc"


@pytest.mark.parametrize("package", ["dyhead.data_report", "dyhead.run_report"])
def test_every_page_has_the_style_and_escapes_what_it_is_given(package):
    page = render_page(package, title="<b>", verdict="<b>", sections=[("x", "<i>")], charts=[])
    assert "prefers-color-scheme: dark" in page
    assert "<b>" not in page.split("<title>")[1].split("</title>")[0]
    assert "<i>" not in page and "&lt;i&gt;" in page
