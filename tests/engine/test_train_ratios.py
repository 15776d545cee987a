"""Training on several data sets with DATASETS.TRAIN_RATIOS."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stop_hook import StopAt

from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.data import register_datasets
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

pytestmark = pytest.mark.usefixtures("own_catalogs")
MakeConfig = Callable[..., CfgNode]
BOTH = {"DATASETS.TRAIN": ("rectangles", "more"), "DATASETS.TRAIN_RATIOS": (2, 1)}


def half(rectangles: list[str], tmp_path: Path, **changes: Any) -> list[str]:
    """A second data set "more": a copy of the last three images, the last without a box."""
    content = json.loads(Path(rectangles[1]).read_text())
    content["images"] = content["images"][3:]
    content["annotations"] = content["annotations"][3:5]
    folder = tmp_path / "more"
    folder.mkdir()
    for image in content["images"]:
        source = Path(rectangles[2], image["file_name"])
        (folder / image["file_name"]).write_bytes(source.read_bytes())
    json_file = tmp_path / "more.json"
    json_file.write_text(json.dumps({**content, **changes}))
    return ["more", str(json_file), str(folder)]


@pytest.fixture
def with_both(make_config: MakeConfig, rectangles: list[str], tmp_path: Path) -> MakeConfig:
    """`make_config` of a run on both."""
    more = half(rectangles, tmp_path)
    return lambda **changes: make_config(
        **{"DATASETS.COCO_JSON": [rectangles, more], **BOTH, **changes}
    )


def drawn(cfg: CfgNode, batches: int) -> list[str]:
    """<folder>/<file> of every image in the first batches."""
    loader = Trainer.build_train_loader(cfg)
    names = [im["file_name"] for batch in itertools.islice(loader, batches) for im in batch]
    return [str(Path(name).relative_to(Path(name).parents[1])) for name in names]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_have_the_shares(with_both: MakeConfig, num_workers: int) -> None:
    cfg = with_both(
        **{
            "DATALOADER.NUM_WORKERS": num_workers,
            "SOLVER.IMS_PER_BATCH": 6,
            "DATALOADER.ASPECT_RATIO_GROUPING": False,
        }
    )
    names = drawn(cfg, 6)
    for begin in range(0, len(names), 6):
        folders = Counter(Path(name).parent.name for name in names[begin : begin + 6])
        assert folders == {"rectangles": 4, "more": 2}
    counts = Counter(names)
    # 24 draws of 6 images, 12 of the 2 that have boxes
    assert {counts[f"rectangles/{i}.png"] for i in range(6)} == {4}
    assert counts["more/3.png"] == counts["more/4.png"] == 6


def test_images_without_boxes_are_drawn_where_they_are_wanted(with_both: MakeConfig) -> None:
    cfg = with_both(**{"DATALOADER.FILTER_EMPTY_ANNOTATIONS": False, "SOLVER.IMS_PER_BATCH": 9})
    assert Counter(drawn(cfg, 1))["more/5.png"] == 1


def test_no_ratios_is_plain_concatenation(with_both: MakeConfig) -> None:
    cfg = with_both(**{"DATASETS.TRAIN_RATIOS": (), "SOLVER.IMS_PER_BATCH": 8})
    assert set(Counter(drawn(cfg, 3)).values()) == {3}


def test_the_log_tells_shares_and_passes(
    with_both: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dyhead"):
        Trainer.build_train_loader(with_both(**{"SOLVER.MAX_ITER": 9}))
    assert "66.7% from rectangles (6 images, 2.0 passes)" in caplog.text
    assert "33.3% from more (2 images, 3.0 passes)" in caplog.text


@pytest.mark.usefixtures("without_pictures")
def test_training_and_resuming(with_both: MakeConfig, tmp_path: Path) -> None:
    whole = Trainer(with_both(OUTPUT_DIR=str(tmp_path / "whole")))
    whole.train()
    cfg = with_both()
    first = Trainer(cfg)
    first.register_hooks([StopAt(3)])
    with pytest.raises(KeyboardInterrupt):
        first.train()
    resumed = Trainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 2
    resumed.train()
    assert torch.equal(resumed.model.box, whole.model.box)
    assert Path(cfg.OUTPUT_DIR, "model_final.pth").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DATASETS.TRAIN_RATIOS": (1,)}, "one positive number for each of the 2 data sets"),
        ({"DATASETS.TRAIN_RATIOS": (1, -2)}, "one positive number"),
        ({"DATASETS.TRAIN_RATIOS": (1, "two")}, "one positive number"),
        ({"DATASETS.TRAIN_RATIOS": (1, True)}, "one positive number"),
        (
            {"DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler"},
            "SAMPLER_TRAIN RepeatFactorTrainingSampler",
        ),
    ],
)
def test_unusable_ratios_are_refused(
    with_both: MakeConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Trainer.build_train_loader(with_both(**changes))


def test_different_classes_are_refused(
    make_config: MakeConfig, rectangles: list[str], tmp_path: Path
) -> None:
    classes = [{"id": 3, "name": "plain"}, {"id": 7, "name": "unheard of"}]
    cfg = make_config(
        **{"DATASETS.COCO_JSON": [rectangles, half(rectangles, tmp_path, categories=classes)]}
    ).clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TRAIN_RATIOS = BOTH.values()
    register_datasets(cfg)
    with pytest.raises(UserError, match="only in the second: unheard of"):
        Trainer.build_train_loader(cfg)


def test_ratios_on_the_command_line() -> None:
    cfg, _ = load_config("", ["DATASETS.TRAIN_RATIOS", "(1, 2.5)"])
    assert list(cfg.DATASETS.TRAIN_RATIOS) == [1, 2.5]
