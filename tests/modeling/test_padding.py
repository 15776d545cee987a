"""Without padding in statistics a picture is computed in any batch as alone, in training too."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_configs import FOLDER, damp, shrink
from torch import Tensor, nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.d2.structures import Boxes, Instances
from dyhead.d2.utils.events import EventStorage
from dyhead.engine.execution import prepare_execution
from dyhead.errors import UserError
from dyhead.modeling.meta_arch import centerness_detector, reppoints
from dyhead.modeling.meta_arch.retinanet import DyHeadRetinaNet

CONFIGS = FOLDER.parent / "experiments" / "configs"
DENSE = ["atss", "fcos", "reppoints", "retinanet"]
SIZES = [(64, 96), (77, 61), (64, 93), (40, 150), (61, 96)]  # three of one padded size
KEY = "MODEL.PADDING_IN_STATISTICS"


@pytest.fixture(autouse=True)
def storage() -> Iterator[None]:
    with EventStorage():
        yield


def small_config(name: str, *changes: str) -> CfgNode:
    opts = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", KEY, "False", *changes]
    cfg, _ = load_config(str(CONFIGS / f"{name}.yaml"), opts)
    shrink(cfg)
    return cfg


def build(name: str, *changes: str) -> nn.Module:
    """A detector that finds things in noise, in float64 so that rounding decides nothing."""
    torch.manual_seed(0)
    model = build_model(small_config(name, *changes)).double()
    damp(model)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.startswith("head") and parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model


def picture(index: int) -> dict[str, Any]:
    """Noise with objects, of which two tiny ones touch the right and the lower border."""
    height, width = SIZES[index]
    generator = torch.Generator().manual_seed(index)
    corners = torch.rand(3, 2, generator=generator) * 20
    sides = 6 + torch.rand(3, 2, generator=generator) * 20
    at_borders = [[width - 3, 20, width, 23], [10, height - 4, 14, height]]
    truth = Instances((height, width))
    truth.gt_boxes = Boxes(
        torch.cat([torch.cat([corners, corners + sides], dim=1), torch.tensor(at_borders).float()])
    )
    truth.gt_classes = torch.randint(0, 3, (5,), generator=generator)
    image = torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)
    return {"image": image, "instances": truth, "height": height, "width": width}


def pictures() -> list[dict[str, Any]]:
    return [picture(index) for index in range(len(SIZES))]


def rows(output: dict[str, Any]) -> Tensor:
    """Boxes, scores and classes of detections, (D, 6)."""
    found = output["instances"]
    parts = found.pred_boxes.tensor, found.scores[:, None], found.pred_classes[:, None]
    return torch.cat([part.double() for part in parts], dim=1)


def distance(one: Tensor, other: Tensor) -> float:
    """The largest gap from a detection to the nearest of the others, whatever their order."""
    if len(one) != len(other):
        return float("inf")
    distances = (one[:, None] - other[None]).abs().amax(dim=2)
    return float(max(distances.amin(dim=0).max(), distances.amin(dim=1).max()))


@pytest.mark.parametrize(
    "name", ["atss", *(pytest.param(each, marks=pytest.mark.slow) for each in DENSE[1:])]
)
@torch.no_grad()
def test_a_mixed_batch_is_detected_as_single_pictures(name: str) -> None:
    model = build(name).eval()
    alone = [rows(model([each])[0]) for each in pictures()]
    together = [rows(output) for output in model(pictures())]
    assert min(map(len, alone)) > 0
    for one, other in zip(alone, together, strict=True):
        assert distance(one, other) < 1e-4


@torch.no_grad()
def test_with_padding_in_statistics_it_is_not() -> None:
    model = build("atss", KEY, "True").eval()
    (alone,) = model([picture(1)])
    assert distance(rows(alone), rows(model(pictures())[1])) > 0.1


@torch.no_grad()
def test_nothing_is_detected_outside_of_a_picture() -> None:
    for output, (height, width) in zip(build("atss").eval()(pictures()), SIZES, strict=True):
        boxes = output["instances"].pred_boxes.tensor
        assert (boxes >= 0).all()
        assert (boxes[:, 0::2] <= width).all() and (boxes[:, 1::2] <= height).all()


@pytest.fixture
def without_divisors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are sums, whose divisors are those of a batch."""
    one = torch.ones(())
    monkeypatch.setattr(centerness_detector, "normalizers", lambda centerness: (one, one))
    monkeypatch.setattr(reppoints, "mean_counts", lambda first, second: (one, one))
    monkeypatch.setattr(DyHeadRetinaNet, "_ema_update", lambda self, name, value, start: 1.0)


def train(model: nn.Module, batches: list[list[dict[str, Any]]]) -> dict[str, Tensor]:
    """Sum losses and gradients of batches, by name."""
    model.zero_grad()
    sums: dict[str, Tensor] = {}
    for batch in batches:
        losses = model(batch)
        sum(losses.values()).backward()
        sums = {name: sums.get(name, 0) + loss.detach() for name, loss in losses.items()}
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {**sums, **gradients}


@pytest.mark.usefixtures("without_divisors")
@pytest.mark.parametrize(
    "name", ["atss", *(pytest.param(each, marks=pytest.mark.slow) for each in DENSE[1:])]
)
def test_losses_and_gradients_of_a_mixed_batch_are_the_sums_of_the_pictures(name: str) -> None:
    model = build(name).train()
    together = train(model, [pictures()])
    alone = train(model, [[each] for each in pictures()])
    assert together.keys() == alone.keys()
    scale = max(float(value.norm()) for value in alone.values())  # the focal loss is float32
    for key, value in alone.items():
        assert (together[key] - value).norm() <= 1e-5 * max(value.norm(), 1e-2 * scale), key


@pytest.mark.usefixtures("without_divisors")
def test_with_padding_in_statistics_they_are_not() -> None:
    model = build("atss", KEY, "True").train()
    together, alone = train(model, [pictures()]), train(model, [[each] for each in pictures()])
    assert (together["loss_cls"] - alone["loss_cls"]).abs() > 1e-3 * alone["loss_cls"]


def test_divisors_are_those_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    take = centerness_detector.normalizers

    def counted(centerness: Tensor) -> tuple[Tensor, Tensor]:
        counts.append(len(centerness))
        return take(centerness)

    monkeypatch.setattr(centerness_detector, "normalizers", counted)
    model = build("atss").train()
    for each in pictures():
        model([each])
    model(pictures())
    assert len(counts) == len(SIZES) + 1 and counts[-1] == sum(counts[:-1])


def test_regions_learn_from_each_picture_as_from_it_alone() -> None:
    cfg = small_config("rcnn")
    torch.manual_seed(0)
    model = build_model(cfg).train()
    prepare_execution(cfg, model)
    batch = [picture(index) for index in (0, 1, 3)]  # all of other sizes
    torch.manual_seed(1)  # of what is sampled among regions
    alone = train(model, [[each] for each in batch])
    torch.manual_seed(1)
    together = train(model, [batch])
    for key in ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"):
        torch.testing.assert_close(together[key], alone[key] / len(batch))
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value / len(batch), rtol=1e-3, atol=1e-5)


def test_pictures_without_truth_are_refused_in_training() -> None:
    batch = pictures()
    del batch[3]["instances"]
    batch[3]["file_name"] = "cats/1.jpg"
    with pytest.raises(UserError, match="No ground truth for cats/1.jpg"):
        build("atss").train()(batch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["MODEL.META_ARCHITECTURE", "RetinaNet"], "RetinaNet cannot.*DyHeadRetinaNet"),
        (["MODEL.FPN.NORM", "SyncBN"], "synchronised batch norms"),
    ],
)
def test_what_cannot_train_in_groups_is_refused(changes: list[str], message: str) -> None:
    cfg = small_config("retinanet", "MODEL.RETINANET.NORM", "", "MODEL.RETINANET.NUM_CONVS", "1")
    cfg.merge_from_list(changes)
    with pytest.raises(UserError, match=message):
        prepare_execution(cfg, build_model(cfg))
