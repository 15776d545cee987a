"""The scripts of the peers show every library the same pictures under the same conditions."""

import importlib
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import own_peer
import pytest
import torch
import torchvision_peer
from peer_protocol import LOWEST_SCORE, Part, Task, read_rgb
from peer_protocol import Picture as GivenPicture
from peer_scripts import Peer, describe
from PIL import Image

from dyhead.config import find_config, load_config
from dyhead.d2.data.detection_utils import read_image
from dyhead.errors import UserError


def make_task(height: int, width: int, weights: str = "random") -> Task:
    return Task("yolo11n", weights, "data", 1.0, height, width, 1, 1, "cpu", "out")


class Yolo:
    """In place of the class of Ultralytics, a package that the tests do without."""

    def __init__(self, source: str | Path) -> None:
        self.built = [source]
        self.model = torch.nn.Identity()
        self.asked: list[dict[str, Any]] = []

    def load(self, source: str) -> "Yolo":
        self.built.append(source)
        return self

    def predict(self, picture: Image.Image, **settings: Any) -> list[Any]:
        self.asked.append(settings)
        none = {"xyxy": torch.zeros(0, 4), "conf": torch.zeros(0), "cls": torch.zeros(0)}
        return [types.SimpleNamespace(boxes=types.SimpleNamespace(**none))]


@pytest.fixture
def ultralytics_peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The script of Ultralytics, with `Yolo`."""
    for name in ("ultralytics", "ultralytics.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["ultralytics"].YOLO = Yolo  # type: ignore[attr-defined]
    sys.modules["ultralytics.utils"].torch_utils = None  # type: ignore[attr-defined]
    sys.modules.pop("ultralytics_peer", None)
    script = importlib.import_module("ultralytics_peer")
    monkeypatch.setattr(script, "use_threads", lambda threads: None)
    yield script
    del sys.modules["ultralytics_peer"]


@pytest.mark.parametrize(
    ("weights", "built"),
    [
        ("random", ["yolo11n.yaml"]),
        ("a/yolo11n-cls.pt", ["yolo11n.yaml", "a/yolo11n-cls.pt"]),
        ("a/yolo11n.pt", ["a/yolo11n.pt"]),
    ],
)
def test_a_classifier_of_ultralytics_gives_its_backbone_to_a_detector(
    weights: str, built: list[str], ultralytics_peer: Any
) -> None:
    """Its YOLO would train a classifier from a classifier's file."""
    assert ultralytics_peer.start(make_task(288, 384, weights)).built == built


@pytest.mark.parametrize("size", [(384, 512), (512, 384), (370, 500)])
def test_ultralytics_detects_in_upright_pictures_as_large_as_in_wide_ones(
    size: tuple[int, int], ultralytics_peer: Any
) -> None:
    """A height and a width would be a frame, in which an upright picture had to be smaller."""
    model = ultralytics_peer.UltralyticsPeer().load(make_task(*size), is_timed=True)
    model.detect(Image.new("RGB", (64, 48)))
    (settings,) = model._yolo.asked
    assert settings["imgsz"] == 512 and settings["rect"] is True


@pytest.mark.parametrize(
    ("size", "input_size"), [((384, 512), (384, 512)), ((384, 683), (396, 704))]
)
def test_ultralytics_tells_the_size_that_it_rounds_the_input_to(
    size: tuple[int, int], input_size: tuple[int, int], ultralytics_peer: Any
) -> None:
    assert ultralytics_peer.UltralyticsPeer().input_size(make_task(*size)) == input_size


def test_ultralytics_counts_detections_from_the_same_score(ultralytics_peer: Any) -> None:
    model = ultralytics_peer.UltralyticsPeer().load(make_task(384, 512), is_timed=False)
    model.detect(Image.new("RGB", (64, 48)))
    assert model._yolo.asked[0]["conf"] == LOWEST_SCORE


@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"]
)
def test_torchvision_counts_detections_from_the_same_score(
    name: str, cells: Path, tmp_path: Path
) -> None:
    task = replace(make_task(64, 64), model=name, data=str(cells), output=str(tmp_path))
    made = torchvision_peer.build(task, 2, "random")
    torch.save(made.state_dict(), tmp_path / torchvision_peer.WEIGHTS)
    model = torchvision_peer.TorchvisionPeer().load(task, is_timed=False)._model
    assert getattr(model, "roi_heads", model).score_thresh == LOWEST_SCORE


@pytest.mark.parametrize("recipe", own_peer.RECIPES)
def test_this_project_counts_detections_from_the_same_score(
    recipe: str, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detector drops those below its own lowest score, `Detector` those below another."""
    found: list[Any] = []

    def load(source: str, config: None, overrides: list[str], device: str) -> None:
        found.append(overrides)

    monkeypatch.setattr(own_peer, "load_detector", load)
    monkeypatch.setattr(own_peer, "OwnModel", lambda ready, lowest, part: lowest)
    task = replace(make_task(384, 512), model=recipe, data=str(cells))
    assert own_peer.OwnPeer().load(task, is_timed=False) == LOWEST_SCORE
    cfg, _ = load_config(find_config(recipe), found[0])
    assert cfg.MODEL.ATSS.INFERENCE_TH == LOWEST_SCORE
    assert cfg.MODEL.META_ARCHITECTURE.startswith("ATSS"), "or the key would be another one"


@pytest.mark.parametrize(
    ("recipe", "height"), [("own_dataset", 384), ("own_dataset_from_random", 256)]
)
def test_this_project_tells_the_size_of_its_recipe(recipe: str, height: int, cells: Path) -> None:
    task = replace(make_task(384, 512), model=recipe, data=str(cells))
    found = own_peer.OwnPeer().input_size(task)
    assert found[0] == height and abs(found[1] - height * 4 / 3) < 1, "pictures of 64 x 48"


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """A picture of 64 x 48 in its file, which its EXIF has turned to 48 x 64."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :16, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_peers_see_pictures_upright_as_this_project_does(turned: Path) -> None:
    given = np.asarray(read_rgb(str(turned)))
    assert given.shape == (64, 48, 3)
    assert np.array_equal(given, read_image(str(turned), "RGB"))


def test_torchvision_trains_and_detects_in_upright_pictures(turned: Path) -> None:
    part = Part([GivenPicture(1, str(turned), 64, 48, [(4, 40, 8, 20, 0)])], ["a"], [1])
    image, target = torchvision_peer.Pictures(part, lambda *both: both)[0]
    assert image.shape == (3, 64, 48) and target["boxes"].tolist() == [[4, 40, 12, 60]]
    model = torchvision_peer.TorchvisionModel(torch.nn.Identity(), "cpu")
    assert model.read(str(turned)).shape == (3, 64, 48)


def test_weights_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"both be known as best\.pt"):
        describe(Peer("ultralytics", "python"), {}, ["a/best.pt", "b/best.pt"])
