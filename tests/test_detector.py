"""From checkpoints to ready detectors, and what is refused on the way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import CONFIGS, make
from torch import nn

from dyhead.checkpoint.model_card import CARD_KEY, ModelCard, describe
from dyhead.cli.main import main
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.modeling import META_ARCH_REGISTRY
from dyhead.d2.structures import Boxes, Instances
from dyhead.data import fill_num_classes, register_datasets
from dyhead.detector import ReadyDetector, build_detector, load_detector, prepare_detector
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

CONFIG = "dyhead_r50_atss_fpn_1x.yaml"
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class ColourDetector(nn.Module):
    """Finds the one coloured rectangle of a picture; red is class 0, green 1, blue 2."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.rand(1))

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"instances": self.find(picture)} for picture in batch]

    def find(self, picture: dict[str, Any]) -> Instances:
        channel = picture["image"].flip(0).sum(dim=(1, 2)).argmax()  # of RGB
        y, x = (picture["image"].sum(dim=0) > 0).nonzero().unbind(dim=1)
        box = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
        return Instances(
            (picture["height"], picture["width"]),
            pred_boxes=Boxes(box[None]),
            scores=self.score.detach(),
            pred_classes=channel[None],
        )


if "ColourDetector" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(ColourDetector)


@pytest.fixture(autouse=True)
def clean_state(own_catalogs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the host's catalogs as they were, and draw nothing."""
    monkeypatch.setattr("dyhead.evaluation.reports.draw_mosaic", lambda *_: None)


@pytest.fixture
def colours(tmp_path: Path) -> Callable[..., list[str]]:
    """Call it with class names in the order of their ids to get [name, json, image folder]."""

    def write(*names: str) -> list[str]:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        images, annotations = [], []
        for index, name in enumerate(sorted(set(names) & COLOURS.keys()), start=1):
            pixels = np.zeros((32, 40, 3), np.uint8)
            pixels[5:21, 4:24] = COLOURS[name]
            Image.fromarray(pixels).save(folder / f"{name}.png")
            size = {"height": 32, "width": 40}
            images.append({"id": index, "file_name": f"{name}.png", **size})
            box = {"bbox": [4, 5, 20, 16], "area": 320, "iscrowd": 0}
            category = 10 * (1 + names.index(name))
            annotations.append({"id": index, "image_id": index, "category_id": category, **box})
        content: dict[str, Any] = {"info": {}, "images": images, "annotations": annotations}
        content["categories"] = [{"id": 10 * (1 + i), "name": n} for i, n in enumerate(names)]
        dataset = "_".join(names)
        (tmp_path / f"{dataset}.json").write_text(json.dumps(content))
        return [dataset, str(tmp_path / f"{dataset}.json"), str(folder)]

    return write


@pytest.fixture
def colour_config(tmp_path: Path) -> Callable[..., CfgNode]:
    """Call it with what `colours` gives and config overrides."""

    def load(entry: list[str], *opts: str) -> CfgNode:
        cfg, explicit_keys = load_config("", opts)
        cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "ColourDetector", "cpu"
        cfg.DATASETS.COCO_JSON = [entry]
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (entry[0],)
        cfg.INPUT.MIN_SIZE_TEST, cfg.DATALOADER.NUM_WORKERS = 32, 0
        cfg.OUTPUT_DIR = str(tmp_path / "run")
        register_datasets(cfg)
        DatasetCatalog.get(entry[0])  # as a training does, which tells the ids
        return cfg

    return load


@pytest.fixture
def trained(
    tmp_path: Path, colours: Callable[..., list[str]], colour_config: Callable[..., CfgNode]
) -> Path:
    """A checkpoint of a ColourDetector trained on red, green and blue."""
    return save(tmp_path / "w.pth", colour_config(colours("red", "green", "blue")))


def save(path: Path, cfg: CfgNode, card: ModelCard | None = None) -> Path:
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    plain = (card or describe(cfg)).as_plain()
    torch.save({"model": model.state_dict(), CARD_KEY: plain}, path)
    return path


def evaluate(cfg: CfgNode, weights: Path) -> float:
    cfg.MODEL.WEIGHTS = str(weights)
    detector = prepare_detector(cfg, dataset=cfg.DATASETS.TEST[0])
    assert detector.class_names == tuple(cfg.DATASETS.TEST[0].split("_"))
    assert detector.category_ids == (10, 20, 30)
    return Trainer.test(detector.cfg, detector.model)["bbox"]["AP"]


@pytest.mark.parametrize("names", [("red", "green", "blue"), ("blue", "red", "green")])
def test_the_order_of_the_classes_does_not_change_the_score(
    trained: Path, colours: Any, colour_config: Any, names: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluate(colour_config(colours(*names)), trained) == pytest.approx(100)
    assert ("in another order" in caplog.text) == (names[0] == "blue")


def test_other_classes_are_refused_by_their_names(
    trained: Path, colours: Any, colour_config: Any
) -> None:
    cfg = colour_config(colours("red", "green", "cyan"))
    with pytest.raises(UserError) as refused:
        evaluate(cfg, trained)
    for part in (str(trained), "checkpoint: blue", "data set: cyan", "TEST.MATCH_CLASSES"):
        assert part in str(refused.value)


def test_classes_that_were_only_renamed_can_be_matched_by_their_indices(
    trained: Path, colours: Any, colour_config: Any
) -> None:
    cfg = colour_config(colours("red", "green", "azure"), "TEST.MATCH_CLASSES", "index")
    assert evaluate(cfg, trained) == pytest.approx(100)
    cfg = colour_config(colours("red", "green"), "TEST.MATCH_CLASSES", "index")
    with pytest.raises(UserError, match="TEST.MATCH_CLASSES"):
        evaluate(cfg, trained)


def test_a_checkpoint_is_a_detector_without_its_data(trained: Path, tmp_path: Path) -> None:
    for file in tmp_path.rglob("*.json"):
        file.unlink()
    for registered in (DatasetCatalog, MetadataCatalog):
        registered.pop("red_green_blue")
    detector = load_detector(trained)
    assert (detector.class_names, detector.category_ids) == (
        ("red", "green", "blue"),
        (10, 20, 30),
    )
    assert detector.cfg.is_frozen() and detector.source == str(trained)
    assert not detector.model.training
    assert not any(parameter.requires_grad for parameter in detector.model.parameters())
    assert "red_green_blue" not in DatasetCatalog, "nothing is registered behind the user's back"


def test_a_config_that_is_named_wins_over_the_card_and_the_card_over_the_file_beside_it(
    trained: Path, colour_config: Any, tmp_path: Path
) -> None:
    beside = tmp_path / "config.yaml"
    beside.write_text("TEST: {DETECTIONS_PER_IMAGE: 7}\nMODEL: {META_ARCHITECTURE: ColourDetector}")
    assert load_detector(trained).cfg.TEST.DETECTIONS_PER_IMAGE == 100
    assert load_detector(trained, beside).cfg.TEST.DETECTIONS_PER_IMAGE == 7
    overrides = ["TEST.DETECTIONS_PER_IMAGE", "9"]
    assert load_detector(trained, beside, overrides).cfg.TEST.DETECTIONS_PER_IMAGE == 9
    old = tmp_path / "old.pth"
    torch.save({"model": torch.load(trained, weights_only=True)["model"]}, old)
    assert load_detector(old).cfg.TEST.DETECTIONS_PER_IMAGE == 7
    beside.unlink()
    with pytest.raises(UserError, match="does not say of which detector it is.*--config"):
        load_detector(old)


def test_a_damaged_card_is_one_sentence(tmp_path: Path, colours: Any, colour_config: Any) -> None:
    cfg = colour_config(colours("red", "green"))
    for config, message in (("a: [", "not well-formed"), ("NONE: 1", "unknown key NONE")):
        path = save(tmp_path / "damaged.pth", cfg, ModelCard(config=config))
        with pytest.raises(UserError, match=f"{path}.*{message}"):
            load_detector(path)
    torch.save({"model": {}, CARD_KEY: 3}, tmp_path / "damaged.pth")
    with pytest.raises(UserError, match="damaged, for its model card is no mapping"):
        load_detector(tmp_path / "damaged.pth")


def test_the_device_is_what_is_asked_for_or_what_there_is(trained: Path) -> None:
    device = load_detector(trained).cfg.MODEL.DEVICE
    assert device == ("cuda" if torch.cuda.is_available() else "cpu")
    for cpu in ("cpu", torch.device("cpu")):
        assert load_detector(trained, device=cpu).cfg.MODEL.DEVICE == "cpu"
    assert load_detector(trained, overrides=["MODEL.DEVICE", "cpu"]).cfg.MODEL.DEVICE == "cpu"
    with pytest.raises(UserError, match="unknown to PyTorch"):
        load_detector(trained, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="'cuda:0' was asked for, but no GPU"):
            load_detector(trained, device="cuda:0")


@pytest.mark.parametrize("config", [CONFIG, "dyhead_r50_rcnn_fpn_1x.yaml"])
def test_weights_in_the_official_layout_load_whole(tmp_path: Path, config: str) -> None:
    cfg, model = make(config, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()")
    torch.save({"model": model.state_dict()}, tmp_path / "own.pth")
    theirs = tmp_path / "official.pth"
    main(["convert", str(tmp_path / "own.pth"), str(theirs), "--layout", "official"])
    cfg.MODEL.WEIGHTS, cfg.MODEL.CHANNELS_LAST = str(theirs), False
    cfg.MODEL.COMPILE.ENABLED = False
    detector = prepare_detector(cfg)
    ours, loaded = model.state_dict(), detector.model.state_dict()
    kept = [name for name in loaded if name.startswith(("head.", "roi_heads.", "backbone.blocks."))]
    assert len(kept) > 10
    assert all(torch.equal(ours[name], loaded[name]) for name in kept)


def test_a_config_of_a_built_in_data_set_needs_none_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opts = ["MODEL.DEVICE", "cpu", "MODEL.DYHEAD.NUM_CONVS", "1"]
    cfg, _ = load_config(str(CONFIGS / CONFIG), opts)
    torch.save({"model": build_detector(cfg).state_dict()}, tmp_path / "coco.pth")
    detector = load_detector(tmp_path / "coco.pth", CONFIGS / CONFIG, opts)
    assert len(detector.class_names) == detector.cfg.MODEL.ATSS.NUM_CLASSES == 80
    assert (detector.class_names[0], detector.category_ids[-1]) == ("person", 90)


def test_the_number_of_classes_comes_from_what_is_known(tmp_path: Path, colours: Any) -> None:
    _, model = make(CONFIG, "MODEL.ATSS.NUM_CLASSES", "2")
    path = tmp_path / "two.pth"
    torch.save({"model": model.state_dict()}, path)
    opts = ["MODEL.DYHEAD.NUM_CONVS", "1", "MODEL.DYHEAD.CHANNELS", "32"]
    opts += ["MODEL.FPN.OUT_CHANNELS", "32", "MODEL.RESNETS.STEM_OUT_CHANNELS", "8"]
    opts += ["MODEL.RESNETS.RES2_OUT_CHANNELS", "16", "DATASETS.TEST", "('red_green',)"]

    def load(*more: str) -> ReadyDetector:
        return load_detector(path, CONFIGS / CONFIG, [*opts, *more])

    of_json = load("DATASETS.COCO_JSON", str([colours("red", "green")]))
    assert of_json.class_names == ("red", "green") and of_json.category_ids == (10, 20)
    of_key = load("DATASETS.TEST", "()", "DATASETS.TRAIN", "()", "MODEL.ATSS.NUM_CLASSES", "2")
    assert of_key.class_names == () and of_key.cfg.MODEL.ATSS.NUM_CLASSES == 2
    with pytest.raises(UserError, match="number of classes: 2, while the model has 80"):
        load("DATASETS.COCO_JSON", "[['red_green', 'absent.json', 'absent']]")

    card = ModelCard(config="", class_names=("a", "b"))
    torch.save({"model": model.state_dict(), CARD_KEY: card.as_plain()}, path)
    assert load().class_names == ("a", "b")
    with pytest.raises(UserError, match="NUM_CLASSES is 5, but .*two.pth has 2 classes"):
        load("MODEL.ATSS.NUM_CLASSES", "5")


def test_random_weights_are_for_those_who_mean_it(
    colours: Any, colour_config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = colour_config(colours("red", "green"))
    with pytest.raises(UserError, match='MODEL.WEIGHTS is "", and random weights detect nothing'):
        prepare_detector(cfg)
    assert prepare_detector(cfg, allow_partial=True).source == ""
    assert "the weights are random" in caplog.text


def test_the_config_that_is_given_stays_as_it_is(colours: Any, colour_config: Any) -> None:
    cfg = colour_config(colours("red", "green"))
    before = cfg.dump()
    prepare_detector(cfg, allow_partial=True)
    assert cfg.dump() == before and not cfg.is_frozen()


@torch.no_grad()
def test_the_ready_model_gives_what_the_trained_one_gives(tmp_path: Path) -> None:
    cfg, model = make(CONFIG, "MODEL.ATSS.INFERENCE_TH", "0.0")
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.05)
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "w.pth")
    ready = prepare_detector(cfg).model
    assert "backbone.fpn.bottom_up.stem.conv1.norm.weight" not in ready.state_dict()
    picture = {"image": torch.rand(3, 64, 96) * 255, "height": 64, "width": 96}
    one, other = (m([picture])[0]["instances"] for m in (model, ready))
    assert len(one) == len(other) > 0
    torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-5)


def test_timm_downloads_nothing_that_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, _ = load_config("", ["MODEL.TIMM.PRETRAINED", "True", "MODEL.WEIGHTS", "w.pth"])
    built: list[bool] = []

    def build(cfg: CfgNode) -> nn.Module:
        built.append(cfg.MODEL.TIMM.PRETRAINED)
        return nn.Linear(1, 1)

    monkeypatch.setattr(Trainer, "build_model", build)
    build_detector(cfg)
    cfg.MODEL.WEIGHTS, cfg.MODEL.TIMM.PRETRAINED = "", True
    build_detector(cfg)
    assert built == [False, True]


def test_filling_agrees_with_what_a_training_fills(colours: Any, colour_config: Any) -> None:
    cfg = colour_config(colours("red", "green"))
    cfg.MODEL.META_ARCHITECTURE = "ATSS"
    fill_num_classes(cfg, set(), eval_only=True)
    assert cfg.MODEL.ATSS.NUM_CLASSES == 2
