"""Every file of configs/: its form, and made small a training step and an evaluation."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_configs import (
    CONFIGS,
    FILES,
    FOLDER,
    MASK_RCNN,
    NEED_GENUINE_DETECTRON2,
    PROJECT,
    SERVED,
    damp,
    shrink,
)
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.data.datasets import load_coco_json
from dyhead.d2.utils.env import seed_all_rng
from dyhead.data import fill_num_classes, register_datasets
from dyhead.engine.trainer import Trainer
from dyhead.safe_io.yaml import load_yaml, load_yaml_with_base

OFFICIAL = [
    "dyhead_r50_atss_fpn_1x.yaml",
    "dyhead_r50_rcnn_fpn_1x.yaml",
    "dyhead_r50_retina_fpn_1x.yaml",
    "dyhead_swint_atss_fpn_2x_ms.yaml",
]


def test_there_are_the_official_files() -> None:
    assert set(OFFICIAL) <= set(CONFIGS)


@pytest.mark.parametrize("name", FILES)
def test_every_file_loads(name: str) -> None:
    load_config(str(FOLDER / name))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_header_has_the_command(name: str) -> None:
    header = re.match(r"(#.*\n)+", (FOLDER / name).read_text())
    assert header
    command = re.escape(f"#   python train_net.py --config configs/{name}")
    assert re.search(rf"^{command}( |$)", header[0], re.MULTILINE)


@pytest.mark.parametrize("name", FILES)
def test_no_value_is_repeated(name: str) -> None:
    own = load_yaml(FOLDER / name)
    bases = own.pop("_BASE_", [])
    seen: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        inherited = leaves(load_yaml_with_base((FOLDER / name).parent / base))
        assert not repeated(seen, inherited), "two bases say the same"
        seen |= inherited
    assert not repeated(seen, leaves(own))


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        below = leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        found |= {f"{prefix}{key}": value} if below is None else below
    return found


def repeated(first: dict[str, Any], second: dict[str, Any]) -> set[str]:
    return {key for key, value in second.items() if key in first and first[key] == value}


@pytest.mark.skipif("DYNAMICHEAD_SOURCE" not in os.environ, reason="needs the official files")
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files_have_the_official_values(name: str) -> None:
    ours, _ = load_config(str(FOLDER / name))
    theirs, _ = load_config(str(Path(os.environ["DYNAMICHEAD_SOURCE"], "configs", name)))
    theirs.MODEL.ROI_MASK_HEAD = ours.MODEL.ROI_MASK_HEAD.clone()  # which nothing reads there
    if "swint" in name:  # Detectron2's default, when the official code was run
        theirs.SOLVER.WEIGHT_DECAY_BIAS = 0.0001
    assert ours == theirs


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """[json, image folder]: two 128 x 120 images of rectangles with masks, three classes."""
    folder = tmp_path_factory.mktemp("walk")
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for index in range(2):
        pixels = rng.integers(0, 80, (120, 128, 3), dtype=np.uint8)
        for side in (12, 30, 80):
            x, y = (int(v) for v in rng.integers(0, 120 - side, 2))
            pixels[y : y + side, x : x + side] = 60 + 2 * side
            objects.append(annotate(len(objects) + 1, index, x, y, side))
        Image.fromarray(pixels).save(folder / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "height": 120, "width": 128})
    categories = [{"id": number, "name": f"class {number}"} for number in (1, 2, 3)]
    content = {"images": images, "annotations": objects, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content))
    return [str(folder / "boxes.json"), str(folder)]


def annotate(number: int, image: int, x: int, y: int, side: int) -> dict[str, Any]:
    outline = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {
        "id": number,
        "image_id": image,
        "category_id": 1 + number % 3,
        "bbox": [x, y, side, side],
        "area": side * side,
        "segmentation": [outline],
        "iscrowd": 0,
    }


def prepare_one_step(cfg: CfgNode, explicit_keys: set[str], data_set: list[str]) -> None:
    """Leave the schedule out, and have every data set of the config be the one given.

    Those of DATASETS.COCO_JSON stay there, others become one that the host reads, as it reads COCO.
    """
    register_with_host("walk", *data_set)
    own = {entry[0] for entry in cfg.DATASETS.COCO_JSON}
    cfg.DATASETS.COCO_JSON = [[name, *data_set] for name in sorted(own)]
    for key in ("TRAIN", "TEST"):
        names = cfg.DATASETS[key]
        cfg.DATASETS[key] = tuple(name if name in own else "walk" for name in names)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "", "cpu"
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = 2, 1
    cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS = (), 1
    cfg.TEST.EVAL_PERIOD, cfg.SEED = 0, 1
    register_datasets(cfg)
    fill_num_classes(cfg, explicit_keys)


def register_with_host(name: str, json_file: str, images: str) -> None:
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: load_coco_json(json_file, images, name))
        MetadataCatalog.get(name).set(json_file=json_file, image_root=images, evaluator_type="coco")


@pytest.fixture
def small(
    tmp_path: Path, data_set: list[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], CfgNode]:
    """Call it with a config's name to get it ready for one step; pictures are not drawn."""
    monkeypatch.setattr("dyhead.evaluation.reports.draw_mosaic", lambda *_: None)
    monkeypatch.setattr("dyhead.engine.hooks.plot_curves", lambda *_: None)

    def load(name: str) -> CfgNode:
        cfg, explicit_keys = load_config(str(FOLDER / name))
        cfg.OUTPUT_DIR = str(tmp_path)
        shrink(cfg)
        prepare_one_step(cfg, explicit_keys, data_set)
        cfg.freeze()
        return cfg

    return load


@pytest.mark.parametrize("name", SERVED)
def test_trains_a_step_and_evaluates(
    small: Callable[[str], CfgNode], tmp_path: Path, name: str
) -> None:
    seed_all_rng(0)
    trainer = Trainer(small(name))
    damp(trainer.model)
    trainer.resume_or_load(resume=False)
    trainer.train()
    latest = trainer.storage.latest()
    losses = {key: value for key, (value, _) in latest.items() if "loss" in key}
    assert len(losses) > 2
    assert all(math.isfinite(value) for value in losses.values()), losses
    check_gradients(trainer.model)
    detections = json.loads((tmp_path / "inference/coco_instances_results.json").read_text())
    assert {detection["image_id"] for detection in detections} == {0, 1}
    assert all(math.isfinite(number) for one in detections for number in one["bbox"])


def check_gradients(model: nn.Module) -> None:
    trained = {k: v for k, v in model.named_parameters() if v.requires_grad}
    assert not [name for name, parameter in trained.items() if parameter.grad is None]
    gradients = {k: v.grad for k, v in trained.items() if v.grad is not None}
    assert not [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    # Levels without an object train no scale, and drop path may leave out a branch.
    zero = [name for name, gradient in gradients.items() if not gradient.any()]
    assert len(zero) <= 0.1 * len(trained), zero


@pytest.mark.skipif(HOST == "detectron2", reason="genuine Detectron2 serves them")
@pytest.mark.parametrize("name", NEED_GENUINE_DETECTRON2)
def test_what_needs_genuine_detectron2_says_so_in_one_sentence(
    data_set: list[str], tmp_path: Path, name: str
) -> None:
    sentence = failing_run(name, data_set, tmp_path)
    assert sentence.startswith(f"Error: {NEED_GENUINE_DETECTRON2[name]} ")
    assert sentence.endswith("or run with genuine Detectron2.")


@pytest.mark.skipif(HOST == "embedded", reason="it has no Mask R-CNN")
def test_mask_rcnn_needs_masks(data_set: list[str], tmp_path: Path) -> None:
    sentence = failing_run(MASK_RCNN, data_set, tmp_path)
    assert sentence.startswith("Error: MODEL.MASK_ON needs masks, but 'mine' is in DATASETS.SOURCE")


def failing_run(name: str, data_set: list[str], output_dir: Path) -> str:
    """The last line of what train_net.py says about a config; it must give no traceback."""
    options = {
        "DATASETS.COCO_JSON": str([["mine", *data_set]]),
        "DATASETS.TRAIN": "('mine',)",
        "DATASETS.TEST": "('mine',)",
        "MODEL.DEVICE": "cpu",
        "OUTPUT_DIR": str(output_dir),
    }
    run = subprocess.run(
        [sys.executable, str(PROJECT / "train_net.py"), "--config", str(FOLDER / name)]
        + [part for option in options.items() for part in option],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stdout + run.stderr
    return run.stderr.splitlines()[-1]
