"""In a batch of several sizes each picture is detected as it would be alone."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_models import make
from torch import Tensor, nn

from dyhead.engine.trainer import Trainer
from dyhead.modeling.size_groups import compute_by_size, group_by_size

SIZES = [(100, 130), (192, 256), (120, 128), (192, 256), (97, 129)]
DETECTORS = {
    "ATSS": "dyhead_r50_atss_fpn_1x.yaml",
    "FCOS": "dyhead_r50_fcos_fpn_1x.yaml",
    "RepPoints": "dyhead_r50_reppoints_fpn_1x.yaml",
    "RetinaNet": "dyhead_r50_retina_fpn_1x.yaml",
    "DyHeadRetinaNet": "dyhead_r50_retina_fpn_1x_without_towers.yaml",
    "GeneralizedRCNN": "dyhead_r50_rcnn_fpn_1x.yaml",
}


def pictures(sizes: list[tuple[int, int]] = SIZES) -> list[dict[str, Any]]:
    torch.manual_seed(1)
    return [
        {"image": torch.rand(3, *size) * 255, "height": 2 * size[0], "width": 2 * size[1]}
        for size in sizes
    ]


def detector(architecture: str) -> nn.Module:
    """One that finds things in noise."""
    keys = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "MODEL.META_ARCHITECTURE", architecture]
    cfg, _ = make(DETECTORS[architecture], *keys)
    torch.manual_seed(0)
    model = Trainer.build_model(cfg).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.05)
    return model


def rows(output: dict[str, Any]) -> Tensor:
    """Boxes relative to the picture's height, scores and classes of detections, (D, 6)."""
    found = output["instances"]
    boxes = found.pred_boxes.tensor / found.image_size[0]
    return torch.cat([boxes, found.scores[:, None], found.pred_classes[:, None]], dim=1)


@pytest.mark.parametrize("architecture", DETECTORS)
@torch.no_grad()
def test_a_batch_of_sizes_equals_single_pictures(architecture: str) -> None:
    model = detector(architecture)
    batch = pictures()
    alone = [rows(model([picture])[0]) for picture in batch]
    together = [rows(output) for output in model(batch)]
    assert min(map(len, alone)) > 0
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        # rounding lets detections of nearly equal scores change places
        distances = (one[:, None] - other[None]).abs().amax(dim=2)
        assert max(distances.amin(dim=0).max(), distances.amin(dim=1).max()) < 1e-4


class Counting(nn.Module):
    """Gives the sizes of the batches it computes, and each picture's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.batches: list[int] = []

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        self.batches.append(len(batched_inputs))
        return [each["image"].mean() * self.weight for each in batched_inputs]


class MeanLoss(Counting):
    """Its loss is the mean over the pictures of a batch."""

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {"loss": torch.stack(super().forward(batched_inputs)).mean()}


class Padding(nn.Module):
    """A backbone's wishes."""

    def __init__(self, divisor: int = 0, **constraints: int) -> None:
        super().__init__()
        self.size_divisibility, self.padding_constraints = divisor, constraints


def test_one_size_is_computed_at_once_and_so_is_a_training_batch() -> None:
    model = Counting()
    compute_by_size(model)
    model.eval()([*pictures([(8, 9)]), *pictures([(8, 9)])])
    model.train()(pictures())
    assert model.batches == [2, len(SIZES)]


def test_losses_of_groups_are_averaged_over_their_pictures() -> None:
    model = MeanLoss().train()
    compute_by_size(model, in_training=True)
    batch = pictures([(4, 5), (8, 9), (4, 5), (6, 7)])
    torch.testing.assert_close(model(batch), MeanLoss()(batch))
    assert model.batches == [2, 1, 1]


def test_results_come_in_the_order_of_the_pictures() -> None:
    model = Counting().eval()
    compute_by_size(model)
    batch = pictures([(4, 5), (8, 9), (4, 5), (6, 7)])
    assert torch.equal(torch.stack(model(batch)), torch.stack(Counting()(batch)))
    assert model.batches == [2, 1, 1]
    assert model([]) == []


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (None, [[0], [1, 3], [2], [4]]),
        (Padding(32), [[0, 4], [1, 3], [2]]),
        (Padding(1, size_divisibility=64), [[0, 4], [1, 3], [2]]),
        (Padding(64, square_size=256), [[0, 1, 2, 3, 4]]),
    ],
)
def test_sizes_that_are_padded_alike_go_together(
    padding: nn.Module | None, expected: list[list[int]]
) -> None:
    model = Counting()
    if padding is not None:
        model.backbone = padding
    assert group_by_size(model, pictures()) == expected


def test_the_model_stays_of_its_class_and_its_copies_compute_on_their_own() -> None:
    model = Counting().eval()
    names = list(model.state_dict())
    compute_by_size(model)
    compute_by_size(model)
    assert isinstance(model, Counting) and type(model).__name__ == "Counting"
    assert list(model.state_dict()) == names
    copies: list[Callable[[], Any]] = [
        lambda: copy.deepcopy(model),
        lambda: pickle.loads(pickle.dumps(model)),
    ]
    for make_copy in copies:
        other = make_copy()
        other(pictures())
        assert other.batches == [1, 2, 1, 1] and model.batches == []


def test_what_has_to_be_said_before_a_pass_is_said_before_each() -> None:
    steps: list[int] = []
    model = Counting().eval()
    compute_by_size(model, before_each=lambda: steps.append(1))
    model(pictures())
    model(pictures([(4, 4)]))
    assert len(steps) == 4 + 1
