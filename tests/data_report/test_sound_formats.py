"""A sound set is found sound in whatever format it comes."""

from pathlib import Path

import pytest
from label_files import WRITERS

from dyhead.data_report import CheckSettings, check_data


@pytest.mark.parametrize("kind", WRITERS)
def test_a_sound_set_of_any_format_is_found_sound(kind: str, tmp_path: Path) -> None:
    report = check_data(CheckSettings(sources=[WRITERS[kind](tmp_path)]))
    assert not [found for each in report.reports for found in each.findings if found.is_fault]
    assert report.sources[0].source.kind == kind
