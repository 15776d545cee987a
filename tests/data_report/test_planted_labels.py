"""Every problem of labels in other formats than COCO's is found, alone and once."""

from pathlib import Path

import pytest
from label_files import WRITERS
from planted_label_faults import LABEL_PLANTERS

from dyhead.data.checks import KINDS
from dyhead.data_report import CheckSettings, check_data


def found(path: Path) -> dict[str, int]:
    report, _ = check_data(CheckSettings(sources=[path])).reports
    counts = {kind.name: number for kind, number in report.counts.items()}
    counts.pop("box-below-stride", None)  # of the pyramid, whatever the format
    return counts


@pytest.mark.parametrize("kind", WRITERS)
def test_a_sound_set_of_any_format_is_found_sound(kind: str, tmp_path: Path) -> None:
    assert not found(WRITERS[kind](tmp_path))


@pytest.mark.parametrize("name", LABEL_PLANTERS)
def test_what_is_planted_is_found_alone(name: str, tmp_path: Path) -> None:
    assert name in KINDS
    assert found(LABEL_PLANTERS[name](tmp_path)) == {name: 1}
