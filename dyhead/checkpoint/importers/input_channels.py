"""Weights for images of three channels, brought to a model for images of another number."""

from collections.abc import Mapping

from torch import Tensor

_COLOURS = 3


def adapt_input(weights: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that have to be changed for a model's images, as timm changes them.

    One channel gets the sum of a convolution's weights for red, green and blue: it computes of a
    grey image what the weights compute of the same image in colours.

    Args:
        weights: of a backbone, by the model's names.
        model: its weights.
    """
    return {
        name: _adapted(weight, model[name].shape[1])
        for name, weight in weights.items()
        if name in model and _is_first(weight.shape, model[name].shape)
    }


def _is_first(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Tell by shapes (O, I, H, W) whether a weight is that of a first convolution to change."""
    is_for_colours = len(theirs) == len(ours) == 4 and theirs[1] == _COLOURS != ours[1]
    return is_for_colours and theirs[:1] + theirs[2:] == ours[:1] + ours[2:]


def _adapted(weight: Tensor, channels: int) -> Tensor:
    from timm.models import adapt_input_conv  # takes long

    adapted: Tensor = adapt_input_conv(channels, weight)
    return adapted
