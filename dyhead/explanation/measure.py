"""Measures what Figures 3 and 4 of the DyHead paper show: scale ratios, and maps before and after.

The ratio of a level is the weight of the finest branch that is mixed there over that of the
coarsest one (the paper: "the learned weight of higher resolution" over that "of lower resolution"):
the finer over the coarser neighbour, and at both ends of the pyramid the level itself in the place
of the missing neighbour. The paper does not say of which block; here each is measured.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from dyhead.errors import UserError
from dyhead.explanation.explain import check_runner
from dyhead.layers import BlockRecord, DyHeadBlock, record_attentions
from dyhead.prediction.inputs import Picture, read_picture
from dyhead.prediction.runner import Runner
from dyhead.prediction.sources import Kind, Source
from dyhead.progress import Progress

DRAWN_PICTURES = 4  # of figure 4


class DrawnMaps(NamedTuple):
    """A picture and its maps, as figure 4 shows them."""

    picture: Picture
    maps: list[list[np.ndarray]]  # before the first block and after each: (H, W) of each level


class Measured(NamedTuple):
    """The measurements in some pictures.

    Attributes:
        level_names: the finest first.
        ratios: (pictures, blocks, levels) of the scale attention's weights.
        drawn: the first pictures with their maps.
        unreadable: why a picture was left out, for each.
    """

    level_names: tuple[str, ...]
    ratios: np.ndarray
    drawn: list[DrawnMaps]
    unreadable: list[str]


def measure(runner: Runner, sources: Sequence[Source], wants_ratios: bool = True) -> Measured:
    """Run the detector on every picture, and keep the ratios, and the maps of the first ones.

    Raises:
        UserError: a source is no picture, none can be read, or the detector has no ratios.
    """
    checked = check_runner(runner)
    model: Any = checked.model
    shapes = model.backbone.output_shape()
    names, strides = tuple(shapes), [shape.stride for shape in shapes.values()]
    if not wants_ratios and not any(isinstance(each, DyHeadBlock) for each in model.modules()):
        raise UserError("Figure 4 is of DyHead blocks, and this detector has none.")
    ratios: list[Any] = []
    drawn: list[DrawnMaps] = []
    unreadable: list[str] = []

    def number_to_read() -> int:
        return len(sources) if wants_ratios else min(len(sources), DRAWN_PICTURES + len(unreadable))

    with closing(Progress(number_to_read())) as progress:
        for source in sources:
            if source.kind is not Kind.PICTURE:
                raise UserError(f"{source.location} is no picture: figures are of pictures only.")
            if len(drawn) == DRAWN_PICTURES and not wants_ratios:
                break
            progress.advance()
            try:
                picture = read_picture(source.location, wanted_order=checked.input_format)
            except UserError as error:
                unreadable.append(str(error))
                progress.say(f"Left out: {error}")
                progress.total = number_to_read()  # another picture takes its place
                continue
            with ExitStack() as stack:
                records = stack.enter_context(record_attentions(model))
                maps: list[list[Tensor]] = []
                if len(drawn) < DRAWN_PICTURES:
                    maps = stack.enter_context(collect_maps(model))
                checked.detect([picture.pixels])
            if wants_ratios:
                ratios.append(_ratios_of(records, len(names)))
            if maps:
                drawn.append(
                    DrawnMaps(picture, _norms(maps, checked.seen_size(*picture.size), strides))
                )
    if not drawn:
        raise UserError(f"None of the pictures can be read: {unreadable[0]}")
    return Measured(names, np.array(ratios), drawn, unreadable)


@contextmanager
def collect_maps(model: nn.Module) -> Iterator[list[list[Tensor]]]:
    """Collect the levels before the first block and after each, (N, C, H, W), of one pass.

    Hooks on a whole block leave it in its fused form.
    """
    blocks = [module for module in model.modules() if isinstance(module, DyHeadBlock)]
    collected: list[list[Tensor]] = []

    def take(levels: Any) -> None:
        if isinstance(levels, list | tuple):  # a dict of levels is also passed on as a list
            collected.append([level.detach() for level in levels])

    handles = [block.register_forward_hook(lambda _, __, levels: take(levels)) for block in blocks]
    if blocks:
        handles.append(blocks[0].register_forward_pre_hook(lambda _, inputs: take(inputs[0])))
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()


def scale_ratios(record: BlockRecord) -> list[float]:
    """Return the ratio of each level, the finest first, of one picture's pass through a block."""
    weights = [shares[0].tolist() for shares in record.shares]
    if not record.scale_first:
        return [of_level[0] / of_level[-1] for of_level in weights]
    last = len(weights) - 1
    return [
        weights[max(level - 1, 0)][0] / weights[min(level + 1, last)][0]
        for level in range(len(weights))
    ]


def _ratios_of(records: Sequence[BlockRecord], num_levels: int) -> list[list[float]]:
    if not records or any(len(record.shares) != num_levels for record in records):
        raise UserError(
            "Figure 3 is of the scale attention, and this detector does not tell its weights: it"
            " takes DyHead blocks with MODEL.DYHEAD.SCALE_AWARE, and MODEL.COMPILE.ENABLED False."
        )
    return [scale_ratios(record) for record in records]


def _norms(
    maps: Sequence[Sequence[Tensor]], seen_size: tuple[int, int], strides: Sequence[int]
) -> list[list[np.ndarray]]:
    """Compute the norms over channels, (H, W), of each level's part that is no padding."""
    height, width = seen_size
    return [
        [
            level[0, :, : -(-height // stride), : -(-width // stride)]
            .float()
            .norm(dim=0)
            .cpu()
            .numpy()
            for level, stride in zip(levels, strides, strict=True)
        ]
        for levels in maps
    ]
