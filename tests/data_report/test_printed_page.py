"""The page on paper, as a browser prints it: all is there, and what belongs together stays so."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from planted_faults import PLANTERS, LabelledFolder

from dyhead.data.checks import Kind, kinds
from dyhead.data_report.collect import DataReport

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PDFTOTEXT = shutil.which("pdftotext")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and PDFTOTEXT), reason="needs Chromium and pdftotext"),
]


@pytest.fixture
def folder(tmp_path: Path) -> LabelledFolder:
    return LabelledFolder(tmp_path / "data", num_images=60)


def print_pages(page: Path) -> list[str]:
    """Print to a PDF; return the text of each sheet, its white space as single spaces."""
    pdf, profile = page.with_suffix(".pdf"), page.with_suffix(".profile")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command = [str(CHROMIUM), *options, f"--print-to-pdf={pdf}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    text = subprocess.run([str(PDFTOTEXT), str(pdf), "-"], check=True, capture_output=True).stdout
    return [" ".join(sheet.split()) for sheet in text.decode().split("\f")]


def plain(text: str) -> str:
    """Take out white space: lines are broken within names too."""
    return "".join(text.split())


def test_every_finding_is_on_one_sheet_with_all_that_it_names(
    folder: LabelledFolder, check: Callable[..., DataReport], tmp_path: Path
) -> None:
    for planter in PLANTERS.values():
        if not planter.is_of_whole_set:
            planter.plant(folder)
    report = check(html=tmp_path / "page.html")
    sheets = [plain(sheet) for sheet in print_pages(tmp_path / "page.html")]
    assert len(sheets) > 8
    source = report.sources[0].report
    assert source.count(kinds.LOST_IMAGE) > 10, "a list that is closed on the screen"
    for kind, items in source.findings.items():
        named = [plain(item.description) for item in items]
        parts = [plain(_heading(kind, source.count(kind))), plain(kind.advice), *named]
        assert any(all(part in sheet for part in parts) for sheet in sheets), kind.name


def test_headings_stand_with_what_follows_wherever_a_sheet_ends(
    folder: LabelledFolder, check: Callable[..., DataReport], tmp_path: Path
) -> None:
    PLANTERS[kinds.CLIPPED_BOX.name].plant(folder)
    check(html=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    start, end = text.index('<h2 id="content">'), text.index("<footer>")
    lowered = [
        f'<div style="break-before: page; height: {height}mm"></div>{text[start:end]}'
        for height in range(120, 250, 8)
    ]
    (tmp_path / "lowered.html").write_text(text[:start] + "".join(lowered) + text[end:])
    sheets = print_pages(tmp_path / "lowered.html")
    for heading, following in (
        ("What the data is made of", "Boxes by class"),
        ("Boxes by class", "ant"),
        ("with the most faults", "001.png: 1"),
    ):
        after = [part for sheet in sheets for part in sheet.split(heading)[1:]]
        assert len(after) == len(lowered)
        assert all(following in part for part in after), heading


def _heading(kind: Kind, count: int) -> str:
    mark = "\N{BLACK UP-POINTING TRIANGLE} fault" if kind.is_fault else "\N{BLACK CIRCLE} note"
    return f"{mark} {count} \N{MULTIPLICATION SIGN} {kind.problem}"
