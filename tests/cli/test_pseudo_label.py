"""`dyhead pseudo-label`, from a folder of images to a data set that trains."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dyhead.cli.main import main
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import META_ARCH_REGISTRY
from dyhead.d2.structures import Boxes, Instances
from dyhead.data import coco_json, register_datasets
from dyhead.data.num_classes import fill_num_classes
from dyhead.engine.trainer import Trainer

WIDTH, HEIGHT = 60, 40
# XYXY in pixels, score, class: what the detector finds in every image that isn't black
FOUND = [
    ((5.0, 6.0, 25.5, 16.0), 0.9, 0),
    ((-4.0, 20.0, 30.0, 50.0), 0.6, 1),  # beyond the left and the lower edge
    ((30.0, 5.0, 50.0, 25.0), 0.4, 1),
    ((8.0, 8.0, 8.6, 20.0), 0.95, 0),  # thinner than a pixel
]


class FixedDetector(nn.Module):
    """Finds `FOUND` in every image, with scores times a learnt factor; nothing in black ones."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 1)
        self.factor = nn.Parameter(torch.tensor(0.01))

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert not self.training
        return [{"instances": self.find(image)} for image in batch]

    def find(self, image: dict[str, Any]) -> Instances:
        found = FOUND if image["image"].max() > 0 else []
        boxes = torch.tensor([box for box, *_ in found]).reshape(-1, 4)
        return Instances(
            (image["height"], image["width"]),
            pred_boxes=Boxes(boxes),
            scores=torch.tensor([score for _, score, _ in found]) * self.factor,
            pred_classes=torch.tensor([index for *_, index in found], dtype=torch.int64),
        )


if "FixedDetector" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(FixedDetector)


@pytest.fixture(autouse=True)
def clean_state(own_catalogs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the host's catalogs and the loggers as they were."""
    monkeypatch.setattr("dyhead.d2.utils.logger.setup_logger", lambda **_: None)


def save_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> list[str]:
    """[name, json, image folder] of the data set that the detector was trained on."""
    save_image(tmp_path / "pets" / "1.png", 1)
    box = {"bbox": [5, 6, 20, 10], "area": 200, "iscrowd": 0}
    content = {
        "info": {},
        "images": [{"id": 1, "file_name": "1.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, **box}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (tmp_path / "pets.json").write_text(json.dumps(content))
    return ["pets", str(tmp_path / "pets.json"), str(tmp_path / "pets")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Unlabelled images: three to label, a black one, two broken ones, and what is no image."""
    images = tmp_path / "new"
    save_image(images / "b" / "2.png", 2)
    save_image(images / "a.jpg", 3)
    save_image(images / "c d" / "deep" / "4.PNG", 4)
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "black.png")
    (images / "empty.jpg").write_bytes(b"")
    whole = (images / "b" / "2.png").read_bytes()
    (images / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (images / "notes.txt").write_text("no image")
    save_image(images / ".hidden.png", 5)
    (images / "b" / "loop").symlink_to(images, target_is_directory=True)
    return images


@pytest.fixture
def label(tmp_path: Path, pets: list[str], folder: Path) -> Callable[..., dict[str, Any]]:
    """Call it with further arguments and overrides to get the json that the command writes."""
    torch.save({"model": {**_weights(), "factor": torch.tensor(1.0)}}, tmp_path / "trained.pth")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
MODEL: {{META_ARCHITECTURE: FixedDetector, WEIGHTS: "{tmp_path / "trained.pth"}", DEVICE: cpu}}
DATASETS:
  COCO_JSON: {json.dumps([pets])}
  TRAIN: ("pets",)
DATALOADER: {{NUM_WORKERS: 0}}
INPUT: {{MIN_SIZE_TEST: 80}}
OUTPUT_DIR: "{tmp_path / "run"}"
VERSION: 2
"""
    )

    def run(*arguments: str, output: Path = tmp_path / "out" / "labels.json") -> dict[str, Any]:
        paths = ["--config", str(config), "--images", str(folder), "--output", str(output)]
        main(["pseudo-label", *paths, *arguments])
        return json.loads(output.read_text())

    return run


def _weights() -> dict[str, torch.Tensor]:
    return {"backbone.weight": torch.ones(1, 1), "backbone.bias": torch.ones(1)}


def test_labels_are_coco_with_the_ids_of_the_training_set(
    label: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = label()
    assert [image["file_name"] for image in coco["images"]] == [
        "a.jpg",
        "b/2.png",
        "c d/deep/4.PNG",
    ]
    assert all((image["width"], image["height"]) == (WIDTH, HEIGHT) for image in coco["images"])
    assert coco["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    first = [a for a in coco["annotations"] if a["image_id"] == coco["images"][0]["id"]]
    assert [(a["category_id"], a["bbox"], a["score"]) for a in first] == [
        (3, [5, 6, 20.5, 10], pytest.approx(0.9)),
        (7, [0, 20, 30, 20], pytest.approx(0.6)),
    ]
    assert [a["area"] for a in first] == [205, 600]
    assert all(a["iscrowd"] == 0 for a in coco["annotations"])
    assert [a["id"] for a in coco["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert coco["info"]["checkpoint"].endswith("trained.pth")
    assert coco["info"]["thresholds"] == {"cat": 0.5, "dog": 0.5}

    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    assert ["cat", "0.5", "3", "3"] in rows and ["all", "", "6", "3"] in rows
    assert "3 of 4 images have labels; 1 without" in printed and "2 can't be read" in printed
    picture = Image.open(tmp_path / "out" / "labels.png")
    assert np.asarray(picture).std() > 10
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"labels.json", "labels.png"}
    assert not (tmp_path / "run").exists(), "the training's folder is left alone"


def test_the_picture_of_an_earlier_run_is_not_labelled(
    label: Callable[..., dict[str, Any]], folder: Path
) -> None:
    first = label(output=folder / "labels.json")
    assert (folder / "labels.png").is_file()
    assert label(output=folder / "labels.json")["images"] == first["images"]


@pytest.mark.parametrize(
    ("kept", "output", "message"),
    [
        ("pets.json", "pets.json", "pets.json is an input, which stays as it is"),
        ("link.json", "link.json", "link.json is an input, which stays as it is"),
        ("new/a.png", "new/a.json", r"new/a\.png is there already, and of no earlier run"),
        ("other.json", "other.json", "other.json is there already, and of no earlier run"),
    ],
)
def test_files_that_no_earlier_run_has_written_stay(
    label: Callable[..., dict[str, Any]], tmp_path: Path, kept: str, output: str, message: str
) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "pets.json")
    (tmp_path / "other.json").write_text('{"images": [], "info": {"description": "by hand"}}')
    save_image(tmp_path / "new" / "a.png", 6)
    before = (tmp_path / kept).read_bytes()
    with pytest.raises(SystemExit, match=message):
        label(output=tmp_path / output)
    assert (tmp_path / kept).read_bytes() == before


def test_a_run_over_labels_that_its_config_trains_with_is_refused(
    label: Callable[..., dict[str, Any]], tmp_path: Path, pets: list[str]
) -> None:
    label()
    out = tmp_path / "out" / "labels.json"
    sets = str([pets, ["pseudo", str(out), str(tmp_path / "new")]])
    before = out.read_bytes()
    with pytest.raises(SystemExit, match=r"labels\.json is an input"):
        label("--threshold", "0.3", "DATASETS.COCO_JSON", sets)
    assert out.read_bytes() == before


def test_broken_images_are_counted_and_named(
    label: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    label()
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING and _is_ours(r)]
    (warning,) = (record.getMessage() for record in warnings)
    assert "2 images can't be read" in warning
    assert "empty.jpg (no image)" in warning and "truncated.png (" in warning


def test_thresholds_per_class(label: Callable[..., dict[str, Any]]) -> None:
    def count(*arguments: str) -> list[int]:
        found = [a["category_id"] for a in label(*arguments)["annotations"]]
        return [found.count(3), found.count(7)]

    assert count("--threshold", "0.3") == [3, 6]
    assert count("--class-threshold", "dog=0.7") == [3, 0]
    assert count("--class-threshold", "dog=0.7", "--class-threshold", "cat=0") == [3, 0]
    assert count("--threshold", "0.95", "--class-threshold", "dog=0.35") == [0, 6]


def test_which_images_are_listed(label: Callable[..., dict[str, Any]]) -> None:
    def names(*arguments: str) -> list[str]:
        return [image["file_name"] for image in label(*arguments)["images"]]

    everything = ["a.jpg", "b/2.png", "black.png", "c d/deep/4.PNG"]
    assert names("--keep-empty") == everything
    assert "black.png" not in names("--skip-empty")
    assert names("--max-images", "2") == everything[:2]


@pytest.mark.filterwarnings("error")
def test_labels_train_together_with_the_training_set(
    label: Callable[..., dict[str, Any]],
    tmp_path: Path,
    pets: list[str],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    label()
    cfg, explicit_keys = load_config("", ["SOLVER.IMS_PER_BATCH", "4"])
    cfg.DATASETS.COCO_JSON = [pets, ["pseudo", str(tmp_path / "out" / "labels.json"), str(folder)]]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TRAIN_RATIOS = ("pets", "pseudo"), [1, 3]
    cfg.DATASETS.TEST = ()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TRAIN = "none", (HEIGHT,)
    cfg.OUTPUT_DIR = str(tmp_path / "second")
    register_datasets(cfg)
    fill_num_classes(cfg, explicit_keys)
    caplog.clear()
    batch = next(iter(Trainer.build_train_loader(cfg)))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING and _is_ours(r)]
    assert not (tmp_path / "second").exists(), "nothing needed repair"
    assert sum(str(folder) in image["file_name"] for image in batch) == 3
    for image in batch:
        if str(folder) in image["file_name"]:
            instances = image["instances"]
            assert instances.gt_classes.tolist() == [0, 1]
            expected = torch.tensor([[5, 6, 25.5, 16], [0, 20, 30, 40.0]])
            torch.testing.assert_close(instances.gt_boxes.tensor, expected)


def _is_ours(record: logging.LogRecord) -> bool:
    """Not that the category ids of either set are not 1, 2, ..., which is no news."""
    return record.name.startswith("dyhead")


def test_a_turned_photograph_is_labelled_as_it_is_shown(
    label: Callable[..., dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    Image.open(folder / "a.jpg").save(folder / "a.jpg", exif=exif)
    image = label()["images"][0]
    assert (image["file_name"], image["width"], image["height"]) == ("a.jpg", HEIGHT, WIDTH)
    checked = coco_json.load_checked_coco(
        "turned",
        coco_json.SourceFiles(tmp_path / "out" / "labels.json", folder, tmp_path / "repaired"),
    )
    assert len(checked) == 3 and not (tmp_path / "repaired").exists()


def test_multi_scale_testing_gets_what_it_needs(
    label: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    class Recorder(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: list[dict[str, Any]]) -> Any:
            seen.extend(set(image) for image in batch)
            return self.model(batch)

    monkeypatch.setattr(
        "dyhead.pseudo_labels.label.build_multi_scale_testing",
        lambda cfg, model: Recorder(model),
    )
    assert label("TEST.AUG.ENABLED", "True")["info"]["multi_scale_testing"] is True
    assert len(seen) == 4
    assert all({"file_name", "height", "width", "image"} <= keys for keys in seen)


def test_an_interruption_leaves_the_older_labels(
    label: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = label()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FixedDetector, "find", interrupt)
    with pytest.raises(KeyboardInterrupt):
        label()
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL.WEIGHTS", ""], "random weights detect nothing"),
        (["MODEL.WEIGHTS", "absent.pth"], "absent.pth does not exist"),
        (["--class-threshold", "bird=0.3"], "one of these names: cat, dog"),
        (["--class-threshold", "cat"], "NAME=SCORE"),
        (["--class-threshold", "cat=high"], "a score from 0 to 1"),
        (["--threshold", "50"], "--threshold 50"),
        (["--threshold", "0.99"], "highest score being 0.950"),
        (["--images", "absent"], "absent is no folder"),
        (["--output", "labels.txt"], "ends in .json"),
        (["DATASETS.TRAIN", "()"], "names and ids"),
        (["TEST.AUG.ENABLED", "Maybe"], "TEST.AUG.ENABLED"),
    ],
)
def test_unusable_input_ends_with_one_sentence(
    label: Callable[..., dict[str, Any]], tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        label(*arguments)
    assert not (tmp_path / "out" / "labels.json").exists()


def test_weights_of_a_backbone_alone_are_refused(
    label: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    torch.save({"model": _weights()}, tmp_path / "backbone.pth")
    with pytest.raises(SystemExit, match=r"lacks 1 of the model's 3 weights \(factor\)"):
        label("MODEL.WEIGHTS", str(tmp_path / "backbone.pth"))


def test_folders_without_readable_images_are_refused(
    label: Callable[..., dict[str, Any]], folder: Path
) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("empty.jpg", "truncated.png"):
            path.unlink()
    with pytest.raises(SystemExit, match="none can be read"):
        label()
    (folder / "empty.jpg").unlink()
    (folder / "truncated.png").unlink()
    with pytest.raises(SystemExit, match="holds no image"):
        label()


def test_the_classes_are_known_without_the_images(
    label: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "pets")
    assert label()["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
