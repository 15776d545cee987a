"""The outcome of importing a file's weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Weights = Mapping[str, Tensor]

# What a file holds besides weights of the model: tables that a model computes by itself.
NOT_WEIGHTS = (
    "relative_position_index",
    "relative_coords_table",
    "attn_mask",
    "pixel_mean",
    "pixel_std",
)

BGR_255 = {  # as Caffe's ResNets were trained, and with them official DyHead and Detectron2
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
}
RGB_NORMALISED = {  # as torchvision's and timm's models were trained
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}
RGB_HALF = {  # from -1 to 1, as Google trained many of its models
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [127.5, 127.5, 127.5],
    "MODEL.PIXEL_STD": [127.5, 127.5, 127.5],
}


@dataclass
class Imported:
    """A file's weights under the project's own names.

    Attributes:
        source: where they come from, in words.
        weights: by own names. Those of a backbone alone have no prefix: "res2.0.conv1.weight".
        is_backbone: there is no detector round the backbone.
        requirements: what the config must say for the weights to mean what they meant, by key.
        reshaped: names of weights that were brought into another form.
        left_out: the file's names of weights that no detector needs, such as its classifier's.
    """

    source: str
    weights: dict[str, Tensor]
    is_backbone: bool = False
    requirements: dict[str, Any] = field(default_factory=dict)
    reshaped: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def is_foreign(self) -> bool:
        """Tell whether another code wrote the file, so that its weights alone mean something."""
        return self.is_backbone or bool(self.requirements)


def split_off(weights: Weights, prefixes: tuple[str, ...]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights whose names begin otherwise than with `prefixes`, and the other names."""
    kept = {name: weight for name, weight in weights.items() if not name.startswith(prefixes)}
    return kept, [name for name in weights if name not in kept]


def is_weight(name: str) -> bool:
    """Tell whether a name is a weight's rather than that of a table that a model computes."""
    return not name.endswith(NOT_WEIGHTS) and ".cell_anchors." not in name


def is_counter(name: str) -> bool:
    """Tell whether a name is that of BatchNorm's count of steps, which most models do not need."""
    return name.endswith("num_batches_tracked")
