"""The four costs of a module, and the measurement of all modules of a detector."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from dyhead.analysis.operators import OperatorCounts, count_operators
from dyhead.analysis.saved_memory import measure_saved_memory


@dataclass(frozen=True)
class Cost:
    """The cost of a part of a detector for one image."""

    multiply_adds: int = 0
    parameters: int = 0
    activations: int = 0  # elements
    saved_bytes: int = 0  # kept for backward in training, besides parameters

    def __add__(self, other: "Cost") -> "Cost":
        """Add the costs of two parts that share nothing."""
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: "Cost") -> "Cost":
        """Subtract the cost of a part that this one contains."""
        return Cost(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


class DetectorBody(nn.Module):
    """The part of a detector whose cost does not depend on what is in the image.

    Of a dense detector that is everything that holds weights; of others only the backbone.
    """

    def __init__(self, detector: nn.Module) -> None:
        """Take the backbone of `detector`, and its head if it reads the backbone's features."""
        super().__init__()
        self.in_channels = len(detector.get_buffer("pixel_mean"))
        self.backbone = detector.get_submodule("backbone")
        self.features = list(getattr(detector, "head_in_features", ()))
        if self.features:
            self.head = detector.get_submodule("head")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute what the head predicts, or the features, from (N, C, H, W), as it is."""
        pyramid = self.backbone(images)
        if not self.features:
            return list(pyramid.values())
        predictions = self.head([pyramid[name] for name in self.features])
        return [level for kind in predictions for level in kind]


@dataclass(frozen=True)
class Measurement:
    """Costs by submodule name, and what fvcore counted."""

    costs: dict[str, Cost]
    operators: OperatorCounts


def measure(body: DetectorBody, height: int, width: int) -> Measurement:
    """Measure `body` and all its submodules for one image of `height` x `width` pixels."""
    images = (torch.zeros(1, body.in_channels, height, width),)
    saved_bytes = measure_saved_memory(body, images)  # first: it is quick, and fails untraced
    operators = count_operators(body, images)
    costs = {
        name: Cost(
            operators.multiply_adds[name],
            count_parameters(module),
            operators.activations[name],
            saved_bytes[name],
        )
        for name, module in body.named_modules()
    }
    return Measurement(costs, operators)


def count_parameters(module: nn.Module) -> int:
    """Count parameters, each once, frozen ones too."""
    return sum(parameter.numel() for parameter in module.parameters())
