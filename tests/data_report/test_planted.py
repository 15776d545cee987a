"""Everything that is planted in a sound folder is found and counted, and nothing else."""

from collections import Counter
from pathlib import Path

import pytest
from planted_faults import PLANTERS, LabelledFolder, Planter

from dyhead.data.checks import KINDS
from dyhead.data_report import CheckSettings, check_data
from dyhead.data_report.collect import DataReport


def check(folder: LabelledFolder) -> DataReport:
    paths = folder.write()
    return check_data(CheckSettings(sources=paths, images=[folder.train.images, folder.val.images]))


def found(report: DataReport) -> Counter[str]:
    counts: Counter[str] = Counter()
    for each in report.reports:
        counts.update({kind.name: number for kind, number in each.counts.items()})
    return counts


def test_a_sound_folder_is_found_sound(tmp_path: Path) -> None:
    assert not found(check(LabelledFolder(tmp_path)))


def test_every_kind_can_be_planted() -> None:
    assert PLANTERS.keys() == KINDS.keys()


@pytest.mark.parametrize("planter", PLANTERS.values(), ids=PLANTERS.keys())
def test_what_is_planted_alone_is_found_alone(planter: Planter, tmp_path: Path) -> None:
    folder = LabelledFolder(tmp_path, num_images=20)
    number = planter.plant(folder)
    counts = found(check(folder))
    assert counts[planter.kind.name] == number > 0
    expected = {planter.kind.name, *(kind.name for kind in planter.consequences)}
    assert counts.keys() <= expected


def test_what_is_planted_together_is_found_together(tmp_path: Path) -> None:
    folder = LabelledFolder(tmp_path, num_images=120)
    planted: Counter[str] = Counter()
    for planter in PLANTERS.values():
        if not planter.is_of_whole_set:
            planted[planter.kind.name] += planter.plant(folder)
    counts = found(check(folder))
    for name, number in planted.items():
        assert counts[name] >= number, name
    consequences = {c.name for planter in PLANTERS.values() for c in planter.consequences}
    for name in planted.keys() - consequences:
        assert counts[name] == planted[name], name
