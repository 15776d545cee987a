"""The parts of a detector and their costs."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from dyhead.analysis.cost import Cost, DetectorBody, count_parameters, measure
from dyhead.d2.modeling import FPN
from dyhead.errors import UserError
from dyhead.layers import DyHeadBlock


@dataclass(frozen=True)
class PartCost:
    """One line of the table; the parts of depth 0 share nothing and make up the whole."""

    name: str
    depth: int
    cost: Cost


@dataclass(frozen=True)
class Analysis:
    """The costs of a detector for one image of `size` (height, width)."""

    size: tuple[int, int]
    parts: list[PartCost]
    total: Cost
    by_operator: dict[str, int]  # multiply-adds
    uncounted: dict[str, int]  # calls of operators that are in no multiply-add
    unmeasured: dict[str, int]  # parameters of modules whose work depends on the image


def analyze_detector(detector: nn.Module, size: tuple[int, int]) -> Analysis:
    """Measure `detector` part by part; it is left in evaluation mode.

    Args:
        detector: a Detectron2 meta-architecture with a `backbone`, on the CPU.
        size: height and width of the tensor that the backbone gets, not padded any further.

    Raises:
        UserError: the feature pyramid cannot take this size.
    """
    body = DetectorBody(detector)
    check_size(body, size)
    measured = measure(body, *size)
    return Analysis(
        size,
        list(split_into_parts(body, measured.costs)),
        measured.costs[""],
        measured.operators.by_operator,
        measured.operators.uncounted,
        dict(_unmeasured(detector, body)),
    )


def check_size(body: nn.Module, size: tuple[int, int]) -> None:
    """Refuse a size that the feature pyramid would fail on halfway.

    Raises:
        UserError: height or width is not a multiple of the pyramid's coarsest bottom-up stride.
    """
    _, pyramid = _first(body, FPN)
    divisor = pyramid.size_divisibility if isinstance(pyramid, FPN) else 1
    padded = [-(-length // divisor) * divisor for length in size]
    if min(size) < 1 or list(size) != padded:
        raise UserError(
            f"The feature pyramid takes multiples of {divisor} pixels, not {size[0]} x {size[1]}:"
            f" use --size {max(padded[0], divisor)} {max(padded[1], divisor)}."
        )


def split_into_parts(body: nn.Module, costs: dict[str, Cost]) -> Iterator[PartCost]:
    """List a detector's parts: bottom-up, FPN, every block with its attentions, head, the rest."""
    rest = costs[""]
    for part in _parts(body, costs):
        yield part
        if part.depth == 0:
            rest -= part.cost
    if rest != Cost():
        yield PartCost("other", 0, rest)


def _parts(body: nn.Module, costs: dict[str, Cost]) -> Iterator[PartCost]:
    pyramid, _ = _first(body, FPN)
    blocks = [name for name, module in body.named_modules() if isinstance(module, DyHeadBlock)]
    if pyramid:
        bottom_up = costs[f"{pyramid}.bottom_up"]
        yield PartCost("bottom-up", 0, bottom_up)
        yield PartCost("FPN", 0, costs[pyramid] - bottom_up)
    elif not blocks:
        yield PartCost("backbone", 0, costs["backbone"])
    for number, block in enumerate(blocks, start=1):
        yield from _with_children(body, costs, f"block {number}", block)
    if "head" in costs:
        yield from _with_children(body, costs, "head", "head")


def _with_children(
    body: nn.Module, costs: dict[str, Cost], name: str, path: str
) -> Iterator[PartCost]:
    yield PartCost(name, 0, costs[path])
    for child, module in body.get_submodule(path).named_children():
        is_empty = isinstance(module, nn.Sequential) and not len(module)
        if not is_empty:
            yield PartCost(child.replace("_", " "), 1, costs[f"{path}.{child}"])


def _first(body: nn.Module, kind: type[nn.Module]) -> tuple[str, nn.Module | None]:
    found = ((name, module) for name, module in body.named_modules() if isinstance(module, kind))
    return next(found, ("", None))


def _unmeasured(detector: nn.Module, body: nn.Module) -> Iterator[tuple[str, int]]:
    for name, module in detector.named_children():
        if not hasattr(body, name) and (number := count_parameters(module)):
            yield name, number
