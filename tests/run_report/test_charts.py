"""Charts take the colours of the page they stand in, and no two of them share an id."""

import re

from PIL import Image

from dyhead.run_report.charts import (
    Chart,
    as_svg,
    hex_color,
    legend_label,
    put_legend_below,
    write_png,
)
from dyhead.visualization.colors import class_colors


def line(name):
    def draw(axes):
        axes.plot([0, 1], [1, 0], "o-", color=hex_color(3), label="a<b & c")
        axes.legend()

    return Chart(name, "A line.", draw)


def test_text_and_axes_have_the_colours_of_the_page():
    svg = as_svg(line("one"))
    assert svg.startswith("<svg") and svg.rstrip().endswith("</svg>")
    assert "var(--text)" in svg and "#1a1b1c" not in svg
    assert hex_color(3) in svg
    assert "a&lt;b &amp; c" in svg


def test_names_are_shown_as_they_are(tmp_path):
    """Matplotlib takes text between dollars for mathematics, and hides labels that begin with _."""
    names = ["$x^$", "_plain", "\\frac$"]

    def draw(axes):
        for index, name in enumerate(names):
            axes.plot([0, 1], [index, 1], label=legend_label(name))
        put_legend_below(axes, 3)

    chart = Chart("names", "Lines.", draw)
    svg = as_svg(chart)
    assert all(name in svg for name in names)
    write_png(chart, tmp_path / "names.png")


def test_ids_that_are_referred_to_are_the_chart_s_own():
    first, second = (as_svg(line(name)) for name in ("one", "two"))
    used = set(re.findall(r"url\(#(\w+)\)", first)) | set(re.findall(r'href="#(\w+)"', first))
    assert used and not any(f'id="{each}"' in second for each in used)


def test_a_class_has_the_colour_that_it_has_in_pictures():
    assert [hex_color(i) for i in range(20)] == [
        f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in class_colors(20)
    ]


def test_a_png_is_on_white(tmp_path):
    write_png(line("one"), tmp_path / "one.png")
    picture = Image.open(tmp_path / "one.png").convert("RGB")
    assert picture.getpixel((1, 1)) == (255, 255, 255)
    assert picture.width > 600
