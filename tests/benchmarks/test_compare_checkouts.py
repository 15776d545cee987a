"""Two checkouts are measured in turns, each in a process of its own."""

from pathlib import Path

import compare_checkouts
import pytest

PROJECT = Path(__file__).parents[2]


def test_checkouts_are_compared_in_turns(capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--channels", "16", "--height", "8", "--width", "8", "--device", "cpu"]
    before, after = (compare_checkouts.Worker(PROJECT, "bm_deform_conv", size) for _ in range(2))
    compare_checkouts.compare(before, after, rounds=2, only="training")
    before.close()
    after.close()
    _, *lines = capsys.readouterr().out.splitlines()
    assert "training | operator, torchvision, float32" in lines[0]
    assert 2 * len(lines) == len(before.calls) and all(" to " in line for line in lines)


def test_a_detector_of_two_checkouts_is_compared_by_its_tasks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = ["--config", "configs/Base-ATSS-DyHead-R18-small.yaml", "--size", "32", "64"]
    size += ["--batch", "1", "--tasks", "training", "--device", "cpu", "--threads", "1"]
    worker = compare_checkouts.Worker(PROJECT, "bm_model", size)
    compare_checkouts.compare(worker, worker, rounds=2, only="pytorch, float32")
    worker.close()
    _, line = capsys.readouterr().out.splitlines()
    assert line.startswith("training | fused, pytorch, float32 ")


def test_a_checkout_without_the_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"benchmark of {tmp_path} ended"):
        compare_checkouts.Worker(tmp_path, "bm_deform_conv", [])


def test_a_benchmark_gets_the_arguments_behind_the_dashes() -> None:
    line = ["one", "two", "--benchmark", "bm_block", "--rounds", "3", "--", "--size", "64", "64"]
    args = compare_checkouts.parse(line)
    assert (args.before, args.after, args.rounds) == (Path("one"), Path("two"), 3)
    assert args.arguments == ["--size", "64", "64"]
