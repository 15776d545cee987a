"""Multiply-adds are counted of images and classes as the trainings have them."""

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import study_costs
from comparisons import PLAIN_ATSS, Variant, without_dyhead
from study_costs import count_multiply_adds


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines of `dyhead analyze`, which counts the pixels of the size that it is given."""
    asked: list[list[str]] = []

    def analyze(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        height, width = map(int, command[command.index("--size") + 1 :][:2])
        total = {"multiply_adds": height * width}
        path = Path(command[command.index("--json") + 1])
        path.write_text(json.dumps({"total": total}))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(study_costs.subprocess, "run", analyze)
    return asked


def test_the_image_has_the_size_of_the_config(commands: list[list[str]], tmp_path: Path) -> None:
    assert count_multiply_adds(PLAIN_ATSS, 3, (), tmp_path) == 384 * 512
    small = ("INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128")
    assert count_multiply_adds(PLAIN_ATSS, 3, small, tmp_path) == 96 * 128


def test_the_detector_has_the_classes_of_the_data(
    commands: list[list[str]], tmp_path: Path
) -> None:
    """With COCO's 80 RetinaNet would have half as many multiply-adds again as with 3."""
    for num_classes in (3, 6):
        count_multiply_adds(Variant("RetinaNet", "retinanet"), num_classes, (), tmp_path)
    given = [dict(itertools.pairwise(command)) for command in commands]
    assert [each["MODEL.RETINANET.NUM_CLASSES"] for each in given] == ["3", "6"]


def test_proposals_and_regions_of_a_second_stage_count(
    commands: list[list[str]], tmp_path: Path
) -> None:
    """By hand: 3 anchors on 5 levels of 64 channels; 128 regions of 7 x 7, two layers of 256."""
    small = ("INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128")
    found = count_multiply_adds(without_dyhead("R-CNN", "rcnn"), 3, small, tmp_path) - 96 * 128
    cells = sum(-(-96 // stride) * -(-128 // stride) for stride in (4, 8, 16, 32, 64))
    proposals = cells * (9 * 64 * 64 + 64 * 3 * (1 + 4))
    regions = 128 * (7 * 7 * 64 * 256 + 256 * 256 + 256 * (4 + 3 * 4))
    assert found == proposals + regions


def test_what_is_known_is_not_counted_again(commands: list[list[str]], tmp_path: Path) -> None:
    count_multiply_adds(PLAIN_ATSS, 3, (), tmp_path)
    count_multiply_adds.cache_clear()
    count_multiply_adds(PLAIN_ATSS, 3, (), tmp_path)
    assert len(commands) == 1
