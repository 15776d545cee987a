"""The page in a browser: filters, thresholds, keys, and the address that holds them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from label_files import write_coco
from page_checks import contrasts, is_on_dark
from viewed_run import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome"),
]

NAMES = "[...document.querySelectorAll('.card .name')].map((each) => each.textContent[0]).join('')"
HASH = "decodeURIComponent(location.hash)"
LARGE = "document.getElementById('large')?.open && document.getElementById('name').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Browser]:
    """The page, wide, without filters; it has reported no error at the end."""
    browser.open("about:blank")  # no request of an earlier page comes late
    browser.messages.clear()
    browser.resize(1200, 800)
    browser.set_dark(False)
    browser.open(served.server.url)
    browser.wait(f"{NAMES} === 'abcd' && document.querySelectorAll('#grid .line').length === 11")
    yield browser
    assert browser.messages == []


@pytest.fixture
def many_pictures(tmp_path: Path) -> Iterator[Served]:
    """Two hundred pictures with an object each."""
    labels = {f"{number}.png": ((40, 30), [("bee", (3, 4, 20, 16))]) for number in range(200)}
    server = Served(write_coco(tmp_path / "many", labels))
    yield server
    server.close()


def move(browser: Browser, slider: str, value: float) -> None:
    browser.run(
        f"{{ const each = document.getElementById('{slider}'); each.value = {value};"
        " each.dispatchEvent(new Event('input')); }"
    )


def lines(browser: Browser, which: str) -> int:
    return browser.run(f"document.querySelectorAll('#grid .line{which}').length")


def test_thresholds_move_the_boxes_live(page: Browser) -> None:
    assert lines(page, ".found") == 5 and lines(page, ".truth") == 6
    for value in (0.65, 0.2, 0.85, 0.55):
        move(page, "low", value)
    page.wait("document.querySelectorAll('#grid .line.found').length === 4")
    assert page.run(HASH) == "#low=0.55"
    move(page, "high", 0.75)
    page.wait("document.querySelectorAll('#grid .line.found').length === 2")
    assert page.run(HASH) == "#low=0.55&high=0.75"


def test_kinds_classes_and_names_choose_pictures(page: Browser) -> None:
    page.run("document.querySelector('#kinds input[value=\"6\"]').click()")
    page.wait(f"{NAMES} === 'cd'")
    page.run("document.querySelector('#classes input[value=\"1\"]').click()")
    page.wait(f"{NAMES} === 'd'")
    assert page.run(HASH) == "#classes=1&kinds=6"
    page.run("document.getElementById('clear').click()")
    page.wait(f"{NAMES} === 'abcd'")
    page.press("/")
    page.press("b")
    page.wait(f"{NAMES} === 'b'")
    assert page.run(HASH) == "#text=b"


def test_the_folder_of_the_predictions_is_named(page: Browser) -> None:
    text = "document.getElementById('summary').textContent"
    assert page.run(text) == "4 of 4 pictures; predictions: inference"


def test_counts_of_any_length_stay_on_one_line(page: Browser) -> None:
    counts = "[...document.querySelectorAll('.choice .count')]"
    page.run(f"{counts}.forEach((each) => {{ each.textContent = '12345 / 12345'; }})")
    (height,) = page.run(f"[...new Set({counts}.map((each) => each.offsetHeight))]")
    assert 0 < height < 30


def test_the_address_gives_the_same_view_again(page: Browser, served: Served) -> None:
    page.open("about:blank")
    page.open(f"{served.server.url}#low=0.2&kinds=0&order=most&picture=2&truth=0")
    page.wait(f"({LARGE}) === 'c.png'")
    page.wait("document.querySelectorAll('#boxes li').length === 1")
    assert page.run(NAMES) == "ac" and lines(page, ".truth") == 0
    assert page.run("document.getElementById('low').value") == "0.2"
    assert page.run("document.getElementById('truth').checked") is False


def test_all_is_done_by_keys(page: Browser) -> None:
    for _ in range(2):
        page.press("ArrowRight")
    assert page.run("document.activeElement.title") == "b.png"
    page.press("Enter")
    page.wait(f"({LARGE}) === 'b.png'")
    page.press("ArrowRight")
    page.wait(f"({LARGE}) === 'c.png'")
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    page.wait(f"({LARGE}) === 'a.png' && !!document.querySelector('#stage .labels')")
    page.press("ArrowDown")
    page.press("ArrowDown")
    page.wait("document.querySelectorAll('#stage .chosen').length === 1")
    assert "80%" in page.run("document.activeElement.textContent")
    page.press("+")
    page.wait(f"{HASH}.includes('low=0.35')")
    page.press("l")
    page.wait("!document.querySelector('#stage .labels')")
    page.press("Escape")
    page.wait(f"{HASH} === '#low=0.35&labels=0'")
    page.wait("document.activeElement.title === 'a.png'")
    page.press("7")
    page.wait(f"{NAMES} === 'cd'")
    page.press("0")
    page.wait(f"{NAMES} === 'abcd'")
    page.press("?")
    assert page.run("document.getElementById('help').open")
    page.press("Escape")
    page.wait("!document.getElementById('help').open")


def test_a_step_back_closes_the_picture(page: Browser) -> None:
    page.run("document.querySelector('.card').click()")
    page.wait(f"({LARGE}) === 'a.png'")
    page.run("history.back()")
    page.wait("!document.getElementById('large').open")
    page.wait(f"['', '#'].includes({HASH})")


def test_pictures_are_loaded_and_drawn_as_they_come_near(
    browser: Browser, many_pictures: Served
) -> None:
    browser.open("about:blank")  # no request of an earlier page comes late
    browser.messages.clear()
    browser.resize(1200, 800)
    browser.open(many_pictures.server.url)
    browser.wait("document.querySelectorAll('#grid .line.truth').length > 0")
    cards = "document.querySelectorAll('.card').length"
    asked = "performance.getEntriesByType('resource').filter((e) => /pictures.json/.test(e.name))"
    drawn = "document.querySelectorAll('.card svg').length"
    assert browser.run(cards) < 200 and 0 < browser.run(drawn) < 60
    is_whole = False
    while not is_whole:
        is_whole = browser.run(cards) == 200
        browser.run("scrollTo(0, document.documentElement.scrollHeight)")
        time.sleep(0.02)
    browser.wait(f"{drawn} < 60 && !!document.querySelector('.card:last-child svg')")
    before = browser.run(f"{asked}.length")
    browser.run("document.getElementById('truth').click()")  # all pictures fit, and stay
    browser.wait("document.querySelectorAll('#grid .line').length === 0")
    assert browser.run(f"{asked}.length") - before <= 2  # those near the window alone
    browser.run("document.getElementById('truth').click()")
    browser.press("/")
    browser.press("7")
    names = "[...document.querySelectorAll('.card .name')].map((each) => each.textContent)"
    fitting = [f"{number}.png" for number in range(200) if "7" in str(number)]
    browser.wait(f"{names}.join() === '{','.join(fitting)}' && {drawn} > 0")
    assert browser.messages == []


@pytest.mark.parametrize("width", [360, 700, 1600])
def test_nothing_is_wider_than_the_window(page: Browser, width: int) -> None:
    page.resize(width, 700)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.run(overflow) == 0
    page.run("document.querySelector('.card').click()")
    page.wait("document.querySelectorAll('#boxes li').length > 0")
    assert page.run("large.scrollWidth - large.clientWidth") == 0
    assert page.run("large.scrollHeight - large.clientHeight") == 0


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(page: Browser, is_dark: bool) -> None:
    page.resize(1200, 1200)
    page.set_dark(is_dark)
    found = contrasts(page)
    page.run("document.querySelector('.card').click()")
    page.wait("!!document.querySelector('#stage .labels')")
    found += contrasts(page)
    page.press("Escape")
    page.wait("!document.getElementById('large').open")
    page.press("?")
    found += contrasts(page)
    page.press("Escape")
    texts = {text for _, text, _ in found}
    assert {"a.png", "Score", "Clear filters (0)", "Enlarge", "bee 90%", "Keys", "Kinds"} <= texts
    assert min(found)[0] >= 4.5, min(found)
    assert is_on_dark(found) is is_dark


def test_an_enlarged_picture_is_moved_by_mouse_and_keys(page: Browser) -> None:
    page.run("document.querySelector('.card').click()")
    page.wait(f"({LARGE}) === 'a.png' && !!document.querySelector('#stage .picture')")
    centre = page.run(
        "(({ left, top, width, height }) => [left + width / 2, top + height / 2])"
        "(stage.getBoundingClientRect())"
    )
    place = "[stage.scrollLeft, stage.scrollTop]"
    page.drag(centre, (centre[0] - 90, centre[1]))
    assert page.run(place) == [0, 0]  # all of it is seen
    for times in (2, 4):
        page.press("z")
        page.wait(f"stage.scrollHeight > {0.9 * times} * stage.clientHeight")
    middle = page.run(
        "[(stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth,"
        " (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight]"
    )
    assert middle == pytest.approx([0.5, 0.5], abs=0.01)
    assert page.run("getComputedStyle(stage).cursor") == "grab"
    left, top = page.run(place)
    page.drag(centre, (centre[0] - 90, centre[1] + 60))
    assert page.run(place) == [left + 90, top - 60]
    page.drag(centre, (centre[0] + 20, centre[1]))  # the button was let go before
    assert page.run(place) == [left + 70, top - 60]
    move(page, "low", 0.2)
    page.wait("document.querySelectorAll('#boxes li').length > 0")
    assert page.run(place) == [left + 70, top - 60]
    for key, is_moved in (
        ("ArrowLeft", f"stage.scrollLeft < {left}"),
        ("ArrowRight", f"stage.scrollLeft === {left + 70}"),
        ("ArrowUp", f"stage.scrollTop < {top - 100}"),
        ("ArrowDown", f"stage.scrollTop === {top - 60}"),
    ):
        page.press(key, with_shift=True)
        assert page.run(is_moved), key
    page.turn_wheel(centre, 200)
    page.wait(f"stage.scrollTop === {top + 140}")
    assert page.run(LARGE) == "a.png"
    page.press("ArrowRight")
    page.wait(f"({LARGE}) === 'b.png' && stage.scrollHeight <= stage.clientHeight")


def test_boxes_lie_where_the_objects_are(page: Browser) -> None:
    place = page.run(
        "(() => { const card = document.querySelector('.card');"
        " const image = card.querySelector('img').getBoundingClientRect();"
        " const box = card.querySelector('.line.truth').getBoundingClientRect();"
        " const scale = Math.min(image.width / 64, image.height / 48);"
        " const left = image.left + (image.width - 64 * scale) / 2;"
        " const top = image.top + (image.height - 48 * scale) / 2;"
        " return [(box.left - left) / scale, (box.top - top) / scale, box.width / scale]; })()"
    )
    assert place == pytest.approx([3, 4, 20], abs=0.6)


def test_a_picture_that_is_gone_is_told(page: Browser, served: Served, tmp_path: Path) -> None:
    (served.sets[0].image_root / "d.png").unlink()
    page.resize(1210, 800)
    page.run("document.querySelectorAll('.card')[3].click()")
    page.wait("(document.querySelector('#stage .failed')?.textContent ?? '').includes('No such')")
    page.messages.clear()  # the browser's own, of the failed request
