"""The page stands alone, shows what it names, and takes no name for markup."""

import base64
import io
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from PIL import Image
from planted_faults import PLANTERS, LabelledFolder

from dyhead.data.checks import kinds
from dyhead.data_report.collect import DataReport
from dyhead.data_report.page import format_page

Check = Callable[..., DataReport]
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Reads a page, and fails where elements are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [a[attribute] or "" for _, a in self.elements if attribute in a]


@pytest.fixture
def page(folder: LabelledFolder, check: Check) -> Page:
    PLANTERS[kinds.CLIPPED_BOX.name].plant(folder)
    PLANTERS[kinds.MISSING_IMAGE.name].plant(folder)
    folder.val.content["categories"][0]["name"] = "bolt"
    return Page(format_page(check()))


def test_items_without_a_picture_are_named_on_paper_too(
    folder: LabelledFolder, check: Check
) -> None:
    """Not every browser prints a closed list; a picture has its caption."""
    for kind, is_open in ((kinds.MISSING_IMAGE, True), (kinds.CLIPPED_BOX, False)):
        PLANTERS[kind.name].plant(folder)
        text = format_page(check())
        article = text.split(f"&times; {kind.problem}</h3>")[1].split("</article>")[0]
        assert ("<details open>" in article) == is_open
        assert ("<img" in article) != is_open


def test_the_page_needs_nothing_beside_itself(page: Page) -> None:
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.values("src"))
    identifiers = page.values("id")
    assert len(set(identifiers)) == len(identifiers)
    assert {href.removeprefix("#") for href in page.values("href")} <= set(identifiers)


def test_the_style_loads_nothing(folder: LabelledFolder, check: Check) -> None:
    text = format_page(check())
    assert "url(" not in text and "@import" not in text and "http" not in text


def test_every_kind_is_named_with_its_count_and_advice(page: Page) -> None:
    text = " ".join(page.text.split())
    for kind, count in ((kinds.CLIPPED_BOX, 1), (kinds.MISSING_IMAGE, 1), (kinds.LOST_IMAGE, 3)):
        assert f"{count} × {kind.problem}" in text
        assert kind.handling in text and kind.advice in text


def test_pictures_can_be_shown(page: Page) -> None:
    sources = page.values("src")
    assert sources
    for source in sources:
        data = base64.b64decode(source.partition(",")[2])
        assert Image.open(io.BytesIO(data)).convert("RGB").size > (20, 20)
    assert all(page.values("alt"))


def test_a_file_outside_the_image_folder_is_not_shown(folder: LabelledFolder, check: Check) -> None:
    PLANTERS[kinds.OUTSIDE_FOLDER.name].plant(folder)
    assert not Page(format_page(check())).values("src")


def test_names_are_text_not_markup(folder: LabelledFolder, check: Check) -> None:
    name = "<script>alert('x')</script>\"&\ud800\x1b[31m"
    for part in (folder.train, folder.val):
        part.content["categories"][0]["name"] = name
    PLANTERS[kinds.CLIPPED_BOX.name].plant(folder)
    text = format_page(check())
    text.encode("utf-8")
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script>alert('x')</script>\"&" in page.text
    assert "\x1b" not in text


def test_bars_are_as_long_as_the_shares_of_their_source(
    folder: LabelledFolder, check: Check
) -> None:
    for part in (folder.train, folder.val):
        part.content["annotations"] = [
            a for a in part.content["annotations"] if a["category_id"] == 1 or a["image_id"] == 1
        ]
    styles = Page(format_page(check())).values("style")
    widths = [float(style.removeprefix("width:").removesuffix("%")) for style in styles[:6]]
    # 8, 1 and 1 of 10 boxes to train on; 6, 1 and 1 of 8 to validate with
    shares = [0.8, 0.75, 0.1, 0.125, 0.1, 0.125]
    assert widths == pytest.approx([100 * share / 0.8 for share in shares], abs=0.01)
