"""The card of a checkpoint survives every file format, and is never trusted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.model_card import CARD_KEY, ModelCard, describe, read_card, replace_card
from dyhead.cli.main import main
from dyhead.config import load_config
from dyhead.config.load import load_config_text
from dyhead.safe_io.load import load_checkpoint_file

CARD = ModelCard(
    config="VERSION: 2\n",
    class_names=("dog", "Ölkanne"),
    category_ids=(7, 3),
    dataset="pets",
    input_format="RGB",
    min_size=640,
    max_size=1000,
    versions={"dyhead": "0.1.0"},
    iteration=12,
    scores={"bbox/AP": 46.25},
)


def save(folder: Path, plain: Any, ending: str = ".pth") -> Path:
    path = folder / f"file{ending}"
    weights = {"backbone.fpn.a.weight": torch.ones(2, 3)}
    if ending == ".pth":
        torch.save({"model": weights, CARD_KEY: plain, "optimizer": {"state": {}}}, path)
    else:
        save_file(weights, path, {CARD_KEY: plain if isinstance(plain, str) else json.dumps(plain)})
    return path


def test_a_checkpointer_writes_the_card_that_it_is_given(tmp_path: Path) -> None:
    SafeCheckpointer(nn.Linear(2, 2), str(tmp_path), card=lambda: CARD).save("model", iteration=3)
    assert read_card(tmp_path / "model.pth") == CARD
    loaded = torch.load(tmp_path / "model.pth", weights_only=True)
    assert loaded["iteration"] == 3 and json.loads(json.dumps(loaded[CARD_KEY])) == CARD.as_plain()


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_both_formats_keep_every_entry(tmp_path: Path, ending: str) -> None:
    assert read_card(save(tmp_path, CARD.as_plain(), ending)) == CARD


@pytest.mark.parametrize("options", [[], ["--strip"], ["--layout", "official"]])
def test_conversions_keep_the_card_and_no_state_of_the_training(
    tmp_path: Path, options: list[str]
) -> None:
    source = save(tmp_path, CARD.as_plain())
    for ending in (".safetensors", ".pth"):
        target = tmp_path / f"to{ending}"
        main(["convert", str(source), str(target), *options])
        assert read_card(target) == CARD
        assert "optimizer" not in load_checkpoint_file(target)


def test_a_file_without_a_card_has_none(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "old.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "older.pth", _use_new_zipfile_serialization=False)
    save_file({"a": torch.ones(1)}, tmp_path / "plain.safetensors")
    (tmp_path / "pickle.pkl").write_bytes(b"\x80\x02}.")
    for path in tmp_path.iterdir():
        assert read_card(path) is None


def test_only_the_card_of_a_file_is_replaced(tmp_path: Path) -> None:
    path = save(tmp_path, CARD.as_plain())
    before = load_checkpoint_file(path)
    replace_card(path, replace(CARD, scores={"bbox/AP": 50.0}))
    after = load_checkpoint_file(path)
    assert after.pop(CARD_KEY)["scores"] == {"bbox/AP": 50.0}
    assert torch.equal(*(x["model"]["backbone.fpn.a.weight"] for x in (before, after)))
    assert after["optimizer"] == before["optimizer"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no card at all", "is no mapping"),
        ({"config": None}, "no usable 'config'"),
        ({"config": "x" * 2**21}, "no usable 'config'"),
        ({"class_names": "dog"}, "no usable 'class_names'"),
        ({"class_names": ["dog", 3]}, "no usable 'class_names'"),
        ({"class_names": ["dog", "x" * 5000]}, "no usable 'class_names'"),
        ({"category_ids": [7]}, "another number of 'category_ids'"),
        ({"category_ids": [7, True]}, "no usable 'category_ids'"),
        ({"input_format": ["BGR"]}, "no usable 'input_format'"),
        ({"min_size": -1}, "no usable 'min_size'"),
        ({"iteration": 1.5}, "no usable 'iteration'"),
        ({"versions": {"torch": {}}}, "no usable 'versions'"),
        ({"scores": {"bbox/AP": "high"}}, "no usable 'scores'"),
        ({"scores": [1.0]}, "no usable 'scores'"),
    ],
)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_damaged_card_is_refused_by_the_names_of_file_and_entry(
    tmp_path: Path, change: Any, message: str, ending: str
) -> None:
    plain = change if isinstance(change, str) else {**CARD.as_plain(), **change}
    path = save(tmp_path, plain, ending)
    with pytest.raises(ValueError, match=message) as refused:
        read_card(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_weights_of_a_file_with_a_damaged_card_can_be_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path, "damaged")
    main(["convert", "--strip", str(path), str(tmp_path / "to.pth")])
    assert "The model card is left out" in caplog.text
    assert read_card(tmp_path / "to.pth") is None
    assert "backbone.fpn.a.weight" in load_checkpoint_file(tmp_path / "to.pth")["model"]


def test_deeply_nested_json_is_damage_and_no_crash(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no mapping"):
        read_card(save(tmp_path, "[" * 100_000, ".safetensors"))


def test_a_truncated_file_is_a_sentence(tmp_path: Path) -> None:
    for ending, lost in ((".pth", 40), (".safetensors", 10)):
        path = save(tmp_path, CARD.as_plain(), ending)
        path.write_bytes(path.read_bytes()[:-lost])
        with pytest.raises(ValueError, match="damaged"):
            read_card(path)


def test_the_config_of_a_card_is_the_merged_one_and_names_no_other_file() -> None:
    cfg, _ = load_config(
        "", ["MODEL.ATSS.NUM_CLASSES", "7", "DATASETS.TRAIN", "('coco_2017_train',)"]
    )
    card = describe(cfg, iteration=4)
    assert json.dumps(load_config_text(card.config, "card")) == json.dumps(cfg)
    assert card.class_names[:2] == ("person", "bicycle") and card.category_ids[-1] == 90
    assert (card.dataset, card.iteration, card.scores) == ("coco_2017_train", 4, {})
    for text in ("_BASE_: /etc/passwd\n", "OUTPUT_DIR: !!python/object/apply:os.getcwd []\n"):
        with pytest.raises(ValueError, match="card"):
            load_config_text(text, "card")


def test_what_describes_a_detector_can_be_saved_and_read(tmp_path: Path) -> None:
    cfg, _ = load_config("", ["DATASETS.TRAIN", "('coco_2017_train',)"])
    card = describe(cfg, scores={"bbox/AP": 1, "bbox/APs": float("nan")})
    assert read_card(save(tmp_path, card.as_plain())) == card
    assert card.scores == {"bbox/AP": 1.0}
