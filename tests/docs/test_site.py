"""The documents build as a site without a warning, and its pages fetch nothing when they open."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from documents import PROJECT

DOCS = PROJECT / "docs"
_FETCHED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}


class Resources(HTMLParser):
    """Collects the addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name == _FETCHED.get(tag)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "-d", str(folder / "doctrees")]
    line = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "html")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_of_the_documents_is_in_a_list_of_the_first_one():
    lists = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    named = {line for text in lists for line in text.split() if not line.startswith(":")}
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    pages |= {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.ipynb")}
    assert pages - {"index"} <= named


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        parser = Resources()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found
        outside = [each for each in parser.found if re.match(r"(?:\w+:)?//", each)]
        assert not outside, page


@pytest.mark.slow
def test_styles_and_scripts_load_nothing_from_elsewhere(site):
    loads = re.compile(r"""(?:url\(|@import|importScripts\(|fetch\()\s*["']?(?:https?:)?//""")
    files = [*site.rglob("*.css"), *site.rglob("*.js")]
    assert files
    for path in files:
        assert not loads.search(path.read_text(encoding="utf-8")), path


@pytest.mark.slow
def test_the_search_works_from_a_file(site):
    """The index is a script that the page of the search loads, not data that it fetches."""
    assert "searchindex.js" in (site / "search.html").read_text(encoding="utf-8")
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    for word in ("troubleshoot", "backbon", "torchrun"):  # as stemmed
        assert word in index


@pytest.mark.slow
def test_the_reference_has_docstrings_and_the_notebook_its_code(site):
    reference = (site / "api.html").read_text(encoding="utf-8")
    for name in (
        "dyhead.prediction.Detector",
        "dyhead.layers.DyHeadBlock",
        "dyhead.errors.UserError",
    ):
        assert f'id="{name}"' in reference
    assert "channels of every level" in reference
    example = re.search(r"Finds objects in pictures\..*?<pre>(.*?)</pre>", reference, re.DOTALL)
    assert example and "detector" in example[1]
    notebook = (site / "notebooks" / "first_detector.html").read_text(encoding="utf-8")
    assert "SOLVER.MINUTES" in notebook and "<h1>" in notebook


@pytest.mark.slow
def test_a_broken_link_would_be_found(site, tmp_path):
    for name in ("conf.py", "_site"):
        source = DOCS / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "index.md").write_text("# Title\n\n[nowhere](no_such_page.md)\n")
    line = [sys.executable, "-m", "sphinx", "-W", "-q", str(tmp_path), str(tmp_path / "html")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode and "no_such_page" in done.stderr
