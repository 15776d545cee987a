"""Multiply-adds are counted of images as the trainings have them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import study_costs
from comparisons import PLAIN_ATSS
from study_costs import count_multiply_adds


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Heights and widths that `dyhead analyze` was asked for; it counts their pixels."""
    asked: list[tuple[int, int]] = []

    def analyze(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        height, width = map(int, command[command.index("--size") + 1 :][:2])
        asked.append((height, width))
        total = {"multiply_adds": height * width}
        path = Path(command[command.index("--json") + 1])
        path.write_text(json.dumps({"total": total}))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(study_costs.subprocess, "run", analyze)
    return asked


def test_the_image_has_the_size_of_the_config(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    assert count_multiply_adds(PLAIN_ATSS, (), tmp_path) == 384 * 512
    small = ("INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128")
    assert count_multiply_adds(PLAIN_ATSS, small, tmp_path) == 96 * 128
    assert sizes == [(384, 512), (96, 128)]


def test_what_is_known_is_not_counted_again(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    count_multiply_adds(PLAIN_ATSS, (), tmp_path)
    count_multiply_adds.cache_clear()
    count_multiply_adds(PLAIN_ATSS, (), tmp_path)
    assert len(sizes) == 1
