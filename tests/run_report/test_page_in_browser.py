"""The page of a report in a browser: narrow and wide, light and dark, on one run and on three."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from page_checks import (
    contrasts,
    cut_off,
    dead_links,
    fetched,
    is_on_dark,
    overflow,
    wide_tables,
)

from dyhead.run_report import ReportSettings, write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome"),
]
NAMES = ("one", "another", "a_run_of_which_the_name_is_so_long_that_it_has_to_be_broken_in_a_table")


@pytest.fixture(scope="module")
def addresses(
    make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, str]:
    """The pages, by the number of runs."""
    runs = [make_run(name, seed) for seed, name in enumerate(NAMES)]
    runs[2] = make_run(NAMES[2], 2, **{"SOLVER.BASE_LR": 0.02})  # so that configs differ
    pages = {}
    for count in (1, 3):
        output = tmp_path_factory.mktemp("report")
        write_report(ReportSettings(runs[:count], output, with_data=count == 1))
        pages[count] = (output / "report.html").as_uri()
    return pages


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(params=[1, 3], ids=["one-run", "three-runs"])
def page(
    request: pytest.FixtureRequest, browser: Browser, addresses: dict[int, str]
) -> Iterator[Browser]:
    """A report with all that can be opened open; at the end it has fetched and logged nothing."""
    browser.messages.clear()
    browser.set_dark(False)
    browser.open("about:blank")
    browser.open(addresses[request.param])
    browser.wait("document.readyState === 'complete' && !!document.querySelector('footer')")
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    yield browser
    assert fetched(browser) == []
    assert browser.messages == []


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_nothing_is_cut_off_or_wider_than_the_window(page: Browser, width: int) -> None:
    page.resize(width, 900)
    assert page.run("document.querySelectorAll('img, svg').length") >= 18
    assert overflow(page) == 0
    assert cut_off(page) == []
    tables = wide_tables(page)
    assert all(tables) and (tables or width > 360)


@pytest.mark.parametrize("width", [360, 700, 1280])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(page: Browser, width: int, is_dark: bool) -> None:
    page.resize(width, 2000)
    page.set_dark(is_dark)
    found = contrasts(page)
    texts = {text for _, text, _ in found}
    assert {"Definitions", "Confusion matrix", "AP50", "Config"} <= texts
    assert min(found)[0] >= 4.5, min(found)
    assert is_on_dark(found) is is_dark


@pytest.mark.parametrize("width", [360, 1280])
def test_the_contents_lead_to_every_part(page: Browser, width: int) -> None:
    page.resize(width, 900)
    names = "(selector) => [...document.querySelectorAll(selector)].map((each) => each.id)"
    parts = page.run(f"({names})('h2[id]')")
    linked = "[...document.querySelectorAll('nav a')].map((each) => each.hash.slice(1))"
    assert page.run(linked) == parts and len(parts) >= 4
    assert dead_links(page) == []
