"""The page and its document define the words of a report alike; the document names all keys."""

import json
import re
from pathlib import Path

from dyhead.run_report import ReportSettings, write_report
from dyhead.run_report.definitions import DEFINITIONS

DOCUMENT = Path(__file__).parents[2] / "docs" / "report.md"


def test_the_document_has_the_sentences_of_the_page():
    text = " ".join(DOCUMENT.read_text().split())
    for term, sentence in DEFINITIONS:
        assert f"- **{term}**: {sentence}" in text, term


def keys_of(content):
    """All keys of nested containers, without those that are names of something of the run."""
    if isinstance(content, dict):
        return set(content).union(*map(keys_of, content.values()))
    return set().union(*map(keys_of, content)) if isinstance(content, list) else set()


def test_the_document_names_every_key_of_the_numbers(make_run, tmp_path):
    runs = [make_run(f"seed{seed}", seed) for seed in (7, 8)]
    write_report(ReportSettings(runs, tmp_path, with_data=False))
    content = json.loads((tmp_path / "report.json").read_text())
    names = {"made_val", "total_loss", "lr", "bbox/AP", "bbox/AP50"}
    section = DOCUMENT.read_text().partition("## report.json")[2]
    named = set(re.findall(r"`(\w+)`", section))
    assert keys_of(content) - names <= named
    assert named - keys_of(content) <= {"null"}


def test_the_page_ends_with_the_definitions(make_run, tmp_path):
    write_report(ReportSettings([make_run()], tmp_path, with_data=False))
    page = (tmp_path / "report.html").read_text()
    for term, _ in DEFINITIONS:
        assert f"<dt>{term}</dt>" in page
