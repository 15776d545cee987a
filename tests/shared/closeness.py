"""Asserts that two devices computed the same, as far as rounding lets them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dyhead.d2.structures import Instances

# Sums of another order differ by 1e-6. But a unit within rounding of the kink of a ReLU or of a
# bilinear sample may be on one side here and on the other there; of few units, one is worth 1e-2.
OF_ALL_GRADIENTS, OF_ONE_MODULE = 1e-2, 3e-2
LOSS_RTOL, LOSS_ATOL = 1e-4, 1e-6
BOX_TOLERANCE = 0.05  # pixels
SCORE_TOLERANCE = 1e-4


def assert_same_losses(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare scalar losses by name."""
    assert found.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(
            found[name],
            loss,
            rtol=LOSS_RTOL,
            atol=LOSS_ATOL,
            msg=lambda text, n=name: f"{n}: {text}",
        )


def assert_same_gradients(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare gradients by the norms of differences: of all parameters, and module by module.

    Not parameter by parameter: the gradient of a bias before a norm is nothing but rounding.
    """
    assert found.keys() == expected.keys()
    differences = {name: found[name].double() - expected[name] for name in expected}
    error, total = norm(*differences.values()), norm(*expected.values())
    assert 0 < total < float("inf")
    assert error <= OF_ALL_GRADIENTS * total, f"all gradients together: {error / total:.1e}"
    allowed = {name: OF_ONE_MODULE * value for name, value in norm_by_module(expected).items()}
    errors = norm_by_module(differences)
    wrong = {name: value for name, value in errors.items() if value > allowed[name]}
    assert not wrong, {
        name: f"{OF_ONE_MODULE * v / allowed[name]:.1e}" for name, v in wrong.items()
    }


def norm_by_module(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Norms of the parameters' tensors of every module, by its name."""
    modules: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        modules.setdefault(name.rpartition(".")[0], []).append(tensor)
    return {module: norm(*parts) for module, parts in modules.items()}


def assert_same_detections(found: Instances, expected: Instances, at_least: float = 0.95) -> None:
    """Nearly every detection has a counterpart of its class, in its place, as sure of it.

    Not all: of two candidates that rounding alone ranks, NMS keeps the first.
    """
    assert len(expected) > 0
    assert found.image_size == expected.image_size
    assert set(found.get_fields()) == set(expected.get_fields())
    distances = found.pred_boxes.tensor[:, None] - expected.pred_boxes.tensor
    same = distances.abs().amax(dim=2) < BOX_TOLERANCE
    same &= (found.scores[:, None] - expected.scores).abs() < SCORE_TOLERANCE
    same &= found.pred_classes[:, None] == expected.pred_classes
    for dim, count in ((1, len(found)), (0, len(expected))):
        share = same.any(dim=dim).sum().item() / max(1, count)
        assert share >= at_least, f"{share:.0%} of {count} detections have a counterpart"


def norm(*tensors: Tensor) -> float:
    """The Euclidean norm of all elements, in float64."""
    return sum(tensor.double().square().sum().item() for tensor in tensors) ** 0.5
