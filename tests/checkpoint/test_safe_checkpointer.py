"""Checkpoints survive a kill, hold training states and are read without running code."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.model_card import ModelCard, read_card


def fill(model: nn.Module, value: float) -> nn.Module:
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    return model


def test_saved_state_comes_back_with_optimizer(tmp_path: Path) -> None:
    model = fill(nn.Linear(2, 2), 3.0)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    SafeCheckpointer(model, str(tmp_path), optimizer=optimizer).save("model_0", iteration=4)

    other = nn.Linear(2, 2)
    other_optimizer = torch.optim.AdamW(other.parameters())
    checkpointer = SafeCheckpointer(other, str(tmp_path), optimizer=other_optimizer)
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 4
    assert torch.equal(other.weight, model.weight)
    state = other_optimizer.state_dict()["state"]
    assert torch.equal(state[0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_resume_without_checkpoint_starts_from_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save({"model": fill(nn.Linear(2, 2), 5.0).state_dict()}, weights)
    model = nn.Linear(2, 2)
    run = tmp_path / "run"
    run.mkdir()
    SafeCheckpointer(model, str(run)).resume_or_load(str(weights), resume=True)
    assert torch.equal(model.weight, torch.full((2, 2), 5.0))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["bomb.pkl", "bomb.pth", "bomb.pyth"])
def test_no_code_runs_from_a_file(tmp_path: Path, name: str) -> None:
    mark, path = tmp_path / "executed", tmp_path / name
    content = {"model": {}, "model_state": {}, "bomb": Bomb(mark)}
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=rf"{name} .*it names \w+\.mkdir, which") as error:
        SafeCheckpointer(nn.Linear(2, 2)).load(str(path))
    assert not mark.exists()
    assert "\n" not in str(error.value) and "still be loaded" not in str(error.value)


@pytest.mark.parametrize("name", ["odd.pkl", "odd.pth"])
@pytest.mark.parametrize(
    "content",
    [
        {},
        {"a": "b"},
        {"model": {}},
        {"model": [1, 2]},
        {"model_state": 3},
        {1: np.zeros(2, np.float32)},
        {"blobs": {1: 2}},
        {"model": {1: np.zeros(2, np.float32)}},
    ],
)
def test_files_without_named_weights_are_refused(
    tmp_path: Path, name: str, content: dict[Any, Any]
) -> None:
    path = tmp_path / name
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=name):
        SafeCheckpointer(nn.Linear(2, 2)).load(str(path))


def test_model_zoo_pickle_loads(tmp_path: Path) -> None:
    path = tmp_path / "zoo.pkl"
    weights = {"weight": np.full((2, 2), 7, np.float32), "bias": np.zeros(2, np.float32)}
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "someone"}))
    model = nn.Linear(2, 2)
    SafeCheckpointer(model).load(str(path))
    assert torch.equal(model.weight, torch.full((2, 2), 7.0))


def test_pycls_weights_are_matched_by_suffix(tmp_path: Path) -> None:
    path = tmp_path / "pycls.pyth"
    torch.save({"model_state": fill(nn.Linear(2, 2), 2.0).state_dict()}, path)
    model = nn.Sequential(nn.Linear(2, 2))
    SafeCheckpointer(model).load(str(path))
    assert torch.equal(model[0].weight, torch.full((2, 2), 2.0))


def test_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="absent.pth.*MODEL.WEIGHTS"):
        SafeCheckpointer(nn.Linear(2, 2)).load("absent.pth")


def test_damaged_file_is_named_and_the_next_load_works(tmp_path: Path) -> None:
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04 cut off")
    model = fill(nn.Linear(2, 2), 1.0)
    checkpointer = SafeCheckpointer(model, str(tmp_path))
    with pytest.raises(ValueError, match="damaged.pth"):
        checkpointer.load(str(tmp_path / "damaged.pth"))
    checkpointer.save("good")
    checkpointer.load(str(tmp_path / "good.pth"))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model": {"backbone.conv.weight": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="Hardly a weight"):
        SafeCheckpointer(nn.Linear(2, 2)).load(str(path))


def test_failed_save_leaves_the_latest_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fill(nn.Linear(2, 2), 1.0)
    checkpointer = SafeCheckpointer(model, str(tmp_path))
    checkpointer.save("model")

    def half_a_save(obj: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", half_a_save)
    with pytest.raises(OSError, match="No space"):
        checkpointer.save("model")
    monkeypatch.undo()
    assert checkpointer.resume_or_load("", resume=True) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last_checkpoint", "model.pth"]


SAVE_FOREVER = """
import sys
import torch
from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.model_card import ModelCard, read_card

checkpointer = SafeCheckpointer(torch.nn.Linear(1000, 1000), sys.argv[1])
for step in range(10**6):
    checkpointer.save(f"model_{step % 3}", iteration=step)
    print(step, flush=True)
"""


@pytest.mark.slow
def test_kill_while_saving_leaves_a_loadable_latest_checkpoint(tmp_path: Path) -> None:
    for kill_after in (1, 4, 7):
        command = [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            saved = [int(process.stdout.readline()) for _ in range(kill_after)]
            process.kill()
        checkpointer = SafeCheckpointer(nn.Linear(1000, 1000), str(tmp_path))
        assert checkpointer.resume_or_load("", resume=True)["iteration"] >= saved[-1]


@pytest.mark.parametrize(
    ("trained", "told"),
    [
        (("cat", "dog"), ""),
        (("dog", "cat"), "another order: dog, cat against cat, dog"),
        (("cat", "Dog"), "'Dog' and 'dog' differ in case or spaces only"),
        ((), ""),
    ],
)
def test_training_from_weights_of_other_classes_is_said_aloud(tmp_path, caplog, trained, told):
    cards = [ModelCard(config="{}", class_names=names) for names in (trained, ("cat", "dog"))]
    SafeCheckpointer(nn.Linear(2, 2), str(tmp_path), card=lambda: cards[0]).save("model_0")
    SafeCheckpointer(nn.Linear(2, 2), card=lambda: cards[1]).load(str(tmp_path / "model_0.pth"))
    warnings = [each for each in caplog.messages if "checkpoint's classes" in each]
    assert len(warnings) == bool(told) and told in "".join(warnings)


def test_category_ids_of_text_and_long_ones_survive_in_a_card(tmp_path):
    card = ModelCard(config="{}", class_names=("a", "b"), category_ids=("k1", 2**70))
    SafeCheckpointer(nn.Linear(2, 2), str(tmp_path), card=lambda: card).save("model_0")
    assert read_card(tmp_path / "model_0.pth") == card
