"""Pictures are tested in batches with larger ones, by weights of the run that was asked for."""

import argparse
import json
from pathlib import Path
from typing import Any

import padding
import pytest
import torch
from padding import Beside, report, run_all
from torch import nn


class Mean(nn.Module):
    """A detector whose answer is the mean over the padded picture, as in a batch's statistics."""

    def forward(self, batch: list[dict[str, Any]]) -> list[float]:
        height, width = (max(each["image"].shape[axis] for each in batch) for axis in (1, 2))
        return [float(each["image"][0].sum()) / (height * width) for each in batch]


class Apart(Mean):
    """The same in evaluations: every picture by itself."""

    base = Mean

    def forward(self, batch: list[dict[str, Any]]) -> list[float]:
        return [super(Apart, self).forward([each])[0] for each in batch]


PICTURES = [{"image": torch.full((3, 10, 20), value)} for value in (60.0, 120.0)]


def test_a_picture_is_alone_without_a_share() -> None:
    assert Beside(Apart(), 0.0)(PICTURES) == [60, 120]


@pytest.mark.parametrize(("share", "pixels"), [(0.1, 11 * 22), (0.5, 15 * 30)])
def test_every_picture_is_padded_to_one_larger_by_the_share(share: float, pixels: int) -> None:
    found = Beside(Apart(), share)(PICTURES)
    assert found == pytest.approx([60 * 200 / pixels, 120 * 200 / pixels])
    assert Apart()([PICTURES[0], {"image": torch.zeros(3, 11, 22)}])[0] == 60, "kept apart else"


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of the trainings that were begun; nothing is trained, tested or timed."""
    begun: list[Path] = []

    def train(command: list[str], **_: Any) -> None:
        folder = Path(command[-1])
        folder.mkdir(parents=True)
        (folder / "model_final.pth").touch()
        begun.append(folder)

    monkeypatch.setattr(padding.subprocess, "run", train)
    monkeypatch.setattr(padding, "test", lambda *_: {"AP": 1.0, "AP50": 2.0, "AP75": 3.0})
    monkeypatch.setattr(padding, "time_steps", lambda *_: {"True": 1.0, "False": 0.5})
    return begun


def call(cells: Path, *opts: str) -> dict[str, Any]:
    output = cells.parent / "output"
    return run_all(argparse.Namespace(data=cells, output=output, steps=3, opts=list(opts)))


def test_a_training_is_repeated_for_other_options_and_annotations_alone(
    cells: Path, trainings: list[Path]
) -> None:
    call(cells)
    call(cells)
    assert len(trainings) == len(set(trainings)) == 2
    call(cells, "SOLVER.MAX_ITER", "7")
    assert len(trainings) == len(set(trainings)) == 4
    content = json.loads((cells / "train.json").read_text())
    content["annotations"][0]["bbox"][0] += 1
    (cells / "train.json").write_text(json.dumps(content))
    call(cells)
    assert len(trainings) == len(set(trainings)) == 6


def test_the_report_says_what_was_trained(cells: Path, trainings: list[Path]) -> None:
    sizes = ("INPUT.MIN_SIZE_TRAIN", "(96, 128)")
    text = report(call(cells, "SOLVER.MAX_ITER", "7", "SEED", "5", *sizes))
    assert text.startswith("# cells: weights tested") and "; 7 steps of" in text
    assert " at 96, 128 pixels, seed 5; " in text and "(0.50 times)" in text
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in text.splitlines()]
    assert ["True", "352", "multiples of 128"] in rows and ["False", "352", "least"] in rows
    assert ["False", "384", "multiples of 128"] not in rows


def test_the_number_of_classes_is_that_of_the_data(cells: Path, tmp_path: Path) -> None:
    options = [*padding.SHORT, *padding.find_data_set(cells).options, "MODEL.WEIGHTS", ""]
    stepper = padding.Stepper([*options, "SOLVER.IMS_PER_BATCH", "1"], tmp_path / "run")
    assert stepper.model.num_classes == 2
