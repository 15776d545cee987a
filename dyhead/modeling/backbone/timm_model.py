"""Creation of models of timm that give features of images of any size, and a look into them."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dyhead.errors import UserError
from dyhead.safe_io.addresses import cached_path, timm_web_address
from dyhead.safe_io.library_weights import TIMM_PREFIX

# What makes a model take images of any size; families differ in which of these they know.
_FLEXIBLE = {"dynamic_img_size": True, "strict_img_size": False}

# What timm raises where it cannot make a model or load its weights.
_FAILURES = (RuntimeError, ValueError, AssertionError, AttributeError, LookupError, OSError)


def make_timm_model(
    name: str,
    drop_path: float = 0.0,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    pretrained: bool = False,
) -> nn.Module:
    """Make timm's `name` as a model that gives features.

    Args:
        name: as in `timm.list_models()`.
        drop_path: chance that the last block is left out in training, per image.
        in_channels: of the images.
        out_indices: which of the model's features; None for timm's choice.
        pretrained: load timm's weights, which may download them.

    Raises:
        UserError: timm has no such model, no features or weights of it, or it has no drop path.
    """
    _check_name(name)
    options: dict[str, Any] = {"in_chans": in_channels, "drop_path_rate": drop_path, **_FLEXIBLE}
    if out_indices is not None:
        options["out_indices"] = tuple(out_indices)
    while True:
        try:
            return timm.create_model(name, pretrained, features_only=True, **options)
        except TypeError as error:
            _drop_refused(name, options, error)
        except _FAILURES as error:
            raise (_no_weights if pretrained else _no_features)(name, error) from error


def _drop_refused(name: str, options: dict[str, Any], error: TypeError) -> None:
    """Take out of `options` what the model refused with `error`, where it can do without."""
    is_refusal = "unexpected keyword argument" in str(error)
    refused = [key for key in options if is_refusal and f"'{key}'" in str(error)]
    if not refused or "in_chans" in refused or "out_indices" in refused:
        raise _no_features(name, error) from error
    if "drop_path_rate" in refused and options["drop_path_rate"]:
        raise UserError(
            f"MODEL.TIMM.DROP_PATH {options['drop_path_rate']}: {name} has no drop path; set it to"
            " 0.0."
        ) from error
    for key in refused:
        del options[key]


def _check_name(name: str) -> None:
    if not name or not timm.is_model(name):
        names = timm.list_models()
        near = difflib.get_close_matches(name.partition(".")[0], names, cutoff=0.0)
        raise UserError(
            f'MODEL.TIMM.NAME: timm {timm.__version__} has no model "{name}", did you mean'
            f" {' or '.join(near)}?"
        )


def _no_features(name: str, error: Exception) -> UserError:
    return UserError(
        f"MODEL.TIMM.NAME {name}: timm gives no features of this model ({_first_line(error)});"
        " choose another."
    )


def _no_weights(name: str, error: Exception) -> UserError:
    try:
        address = timm_web_address(name)
    except ValueError as unknown:
        return UserError(f"MODEL.TIMM.PRETRAINED: {unknown}")
    return UserError(
        f"MODEL.TIMM.PRETRAINED: timm's weights of {name} could not be loaded"
        f" ({_first_line(error)}): fetch {address} on a machine with network access and put it at"
        f" {cached_path(address)}, with MODEL.TIMM.PRETRAINED False and MODEL.WEIGHTS"
        f" {TIMM_PREFIX}{name}."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def probe(model: nn.Module, name: str, coarsest_stride: int, in_channels: int) -> list[Tensor]:
    """Compute the features of one small oblong image, with their graph, in evaluation mode.

    Returns:
        what the model gives; the image is 4 times `coarsest_stride` high and 6 times wide.

    Raises:
        UserError: the model does not take such an image.
    """
    device = next(model.parameters()).device
    height, width = probe_size(coarsest_stride)
    training = model.training
    model.eval()
    try:
        return list(model(torch.zeros(1, in_channels, height, width, device=device)))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"MODEL.TIMM.NAME {name} does not take images of any size ({_first_line(error)}):"
            " choose a model that does."
        ) from error
    finally:
        model.train(training)


def probe_size(coarsest_stride: int) -> tuple[int, int]:
    """Return height and width in pixels of the image for `probe`: no feature of it is square."""
    side = max(32, coarsest_stride)
    return 4 * side, 6 * side


def parameters_behind(outputs: Iterable[Tensor]) -> set[nn.Parameter]:
    """Find the parameters that `outputs` are computed from, along their autograd graph."""
    nodes = [output.grad_fn for output in outputs]
    seen: set[Any] = set()
    parameters: set[nn.Parameter] = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), nn.Parameter):
            parameters.add(leaf)
        nodes += [following for following, _ in node.next_functions]
    return parameters
