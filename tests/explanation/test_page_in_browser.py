"""The page of explanations in a browser: a box is chosen by a click and by keys."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from page_checks import contrasts, cut_off, fetched, is_on_dark, overflow, wide_tables
from PIL import Image
from small_runs import save_run

from dyhead.cli.main import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome"),
]
BOXES = "sections[0].boxes"
CHOSEN = f"{BOXES}.findIndex((b) => b.matches('.is-chosen'))"
POINTS = "document.querySelectorAll('.points circle').length"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("explained")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    words = [str(save_run(folder / "run")), str(folder / "photo.png"), "--threshold", "0.45"]
    main(["explain", *words, "--output", str(folder / "out"), "--device", "cpu"])
    return (folder / "out" / "explanations.html").as_uri()


@pytest.fixture
def page(address: str, tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path)
    browser.open(address)
    browser.wait("document.querySelectorAll('.box').length > 2")
    yield browser
    assert fetched(browser) == []
    assert browser.messages == []
    browser.close()


def test_keys_go_through_the_boxes_and_let_go(page: Browser) -> None:
    assert page.wait(f"{CHOSEN} + 1") == 1 and page.run(POINTS) > 0
    page.run(f"{BOXES}[1].focus()")
    page.press("Enter")
    assert page.run(CHOSEN) == 1
    page.press("ArrowRight")
    assert page.run(CHOSEN) == 2
    assert page.run(f"document.activeElement === {BOXES}[2]")
    page.press("Escape")
    assert page.run(CHOSEN) == -1 and page.run(POINTS) == 0


def test_a_button_chooses_its_box_and_a_level_hides_its_points(page: Browser) -> None:
    page.run("document.querySelectorAll('.choices button')[1].click()")
    assert page.run(CHOSEN) == 1
    before = page.run(POINTS)
    page.run("document.querySelectorAll('.panel input[type=checkbox]').forEach((b) => b.click())")
    assert before > 0 and page.run(POINTS) == 0


def test_points_leave_a_small_object_to_be_seen(page: Browser) -> None:
    side = 3.0
    page.run(f"sections[0].picture.detections[0].box = [10, 10, 40, {10 + side}]")
    page.run("sections[0].choose(-1), sections[0].choose(0)")
    radii = page.run(
        "[...document.querySelectorAll('.points circle')].map((c) => c.r.baseVal.value)"
    )
    assert 0 < 2 * max(radii) < 0.4 * side


def test_a_click_reaches_the_smallest_box_below_it(page: Browser) -> None:
    """A large box that the detector is less sure of comes later in the list and covers it."""
    page.run("sections[0].choose(-1)")
    missed = """sections[0].boxes.filter((box) => {
        const edges = (b) => b.lastChild.getBoundingClientRect();
        const area = (b) => edges(b).width * edges(b).height;
        box.scrollIntoView({ block: "center" });
        const r = edges(box);
        const hit = document.elementFromPoint((r.left + r.right) / 2, (r.top + r.bottom) / 2);
        return !hit?.closest(".box") || area(hit.closest(".box")) > area(box) + 0.01;
    }).length"""
    assert page.run(missed) == 0


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_nothing_is_cut_off_or_wider_than_the_window(page: Browser, width: int) -> None:
    page.resize(width, 700)
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.run("document.querySelectorAll('.stage, .plot').length") == 2
    assert overflow(page) == 0
    assert cut_off(page) == []
    assert all(wide_tables(page))


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(page: Browser, is_dark: bool) -> None:
    page.resize(1280, 1500)
    page.set_dark(is_dark)
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    found = contrasts(page)
    texts = {text for _, text, _ in found}
    assert {"Explained detections", "Sampling points", "sampled by", "p3", "block"} <= texts
    assert min(found)[0] >= 4.5, min(found)
    assert is_on_dark(found) is is_dark


def test_levels_look_like_no_class_and_are_named(page: Browser) -> None:
    named = page.run("[...document.querySelectorAll('.levels label')].map((e) => e.textContent)")
    assert named == page.run("sections[0].picture.levels.map((each) => each.name)")
    colors = page.run("DATA.level_colors")
    assert len(set(colors)) == len(named) > 1
    fills = page.run(
        "[...document.querySelectorAll('.points circle')].map((each) => each.getAttribute('fill'))"
    )
    assert fills and set(fills) <= set(colors)
    classes = page.run("sections[0].picture.colors")
    assert classes and not set(classes) & set(colors)
