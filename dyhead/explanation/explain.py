"""Explains the detections of a picture from the forward pass that found them."""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from dyhead.errors import UserError
from dyhead.explanation.explained import (
    ExplainedDetection,
    Explanation,
    LevelAttention,
    SampledPoints,
)
from dyhead.explanation.origins import Origin, check_explained, find_origins
from dyhead.explanation.sampling_points import TracedBlock, trace
from dyhead.layers import BlockRecord, DyHeadBlock, record_attentions
from dyhead.prediction.detections import Detections
from dyhead.prediction.inputs import Picture
from dyhead.prediction.runner import RawDetections, Runner
from dyhead.prediction.torch_runner import TorchRunner, as_arrays

_ONE_AT_A_TIME = threading.Lock()  # a model's blocks have room for one record


class ExplainedPass(NamedTuple):
    """A forward pass with one picture.

    Attributes:
        found: the detections, in no order.
        origins: of each.
        records: of each block.
    """

    found: RawDetections
    origins: list[Origin]
    records: list[BlockRecord]


class Explainer:
    """Explains what a runner detects.

    Args:
        runner: of a PyTorch detector that looks at pictures in one scale.
        block: the block, from 1, from which sampling points are traced; None for the last one.

    Raises:
        UserError: the detector cannot be explained, or has no such block.
    """

    def __init__(self, runner: Runner, block: int | None = None) -> None:
        self._runner = check_runner(runner)
        self.model: Any = self._runner.model
        check_explained(self.model)
        backbone: Any = self.model.backbone
        shapes = backbone.output_shape()
        self.level_names = tuple(shapes)
        self.strides = tuple(int(shape.stride) for shape in shapes.values())
        self.block = block
        self._check_block(sum(isinstance(each, DyHeadBlock) for each in self.model.modules()))

    def _check_block(self, count: int) -> None:
        if not count:
            raise UserError(
                "This detector has no DyHead blocks to explain: MODEL.DYHEAD.NUM_CONVS is 0."
            )
        if self.block is None:
            self.block = count
        if not 1 <= self.block <= count:
            raise UserError(f"There is no block {self.block}: the detector has 1 to {count}.")

    def run(self, picture: Picture) -> ExplainedPass:
        """Detect in a picture, and keep what the blocks computed.

        Raises:
            UserError: the pass does not say what it computed.
        """
        with _ONE_AT_A_TIME, record_attentions(self.model) as records:
            (instances,) = self._runner.detect([picture.pixels])
        if any(len(record.sizes) != len(self.level_names) for record in records):
            raise UserError(
                "The blocks do not tell what they computed: set MODEL.COMPILE.ENABLED to False, and"
                " MODEL.DYHEAD.SPATIAL_ATTENTION to one that derives from SpatialAttention."
            )
        instances = instances.to("cpu")
        origins = find_origins(self.model, instances, records[0].sizes)
        return ExplainedPass(as_arrays(instances), origins, records)

    def explain(
        self,
        picture: Picture,
        detections: Detections,
        origins: Sequence[Origin],
        records: Sequence[BlockRecord],
    ) -> Explanation:
        """Put together what is known of some detections.

        Args:
            picture: in which they were found.
            detections: those to explain.
            origins: of each of them.
            records: of the pass.
        """
        assert self.block is not None
        seen = self._runner.seen_size(*picture.size)
        ratios = picture.size[1] / seen[1], picture.size[0] / seen[0]  # x, y
        names = self.level_names
        return Explanation(
            detections=detections,
            objects=tuple(self._explain_one(origin, records, ratios) for origin in origins),
            blocks=tuple(_describe_block(record, names) for record in records),
            block=self.block,
            level_names=names,
            strides=self.strides,
            seen_size=seen,
        )

    def _explain_one(
        self, origin: Origin, records: Sequence[BlockRecord], ratios: tuple[float, float]
    ) -> ExplainedDetection:
        assert self.block is not None
        here = torch.tensor([[float(origin.row), float(origin.column)]])
        (location,) = self._in_picture(torch.tensor([origin.level]), here, ratios).tolist()
        traced = trace(records, origin, self.block - 1)
        return ExplainedDetection(
            *origin,
            location=(location[0], location[1]),
            points=tuple(self._sampled(each, ratios) for each in traced),
        )

    def _sampled(self, traced: TracedBlock, ratios: tuple[float, float]) -> SampledPoints:
        levels, places, weights = traced.points
        in_picture = self._in_picture(levels, places, ratios)
        return SampledPoints(
            traced.block + 1, in_picture, weights.float().numpy(), levels.numpy(), traced.kept
        )

    def _in_picture(
        self, levels: torch.Tensor, places: torch.Tensor, ratios: tuple[float, float]
    ) -> np.ndarray:
        """Bring places (P, 2), y and x on their levels, to x and y in pixels of the picture.

        A position lies where the detector puts the centres of its anchors.
        """
        stride = torch.tensor(self.strides, dtype=torch.float64)[levels, None]
        seen = (places.flip(1) + self.model.anchor_generator.offset) * stride
        return (seen * torch.tensor(ratios, dtype=torch.float64)).float().numpy()


def check_runner(runner: Runner) -> TorchRunner:
    """Refuse a runner that does not compute by blocks, or in several scales.

    Raises:
        UserError: it is one.
    """
    if not isinstance(runner, TorchRunner):
        raise UserError("An exported model cannot be explained: give the checkpoint it is from.")
    if runner.is_multi_scale:
        raise UserError(
            "TEST.AUG.ENABLED looks at a picture in several scales, of which none explains the"
            " merged boxes: set it to False."
        )
    return runner


def _describe_block(record: BlockRecord, names: Sequence[str]) -> tuple[LevelAttention, ...]:
    return tuple(_describe_level(record, names, level) for level in range(len(names)))


def _describe_level(record: BlockRecord, names: Sequence[str], level: int) -> LevelAttention:
    branches = tuple(names[max(level - 1, 0) : level + 2])
    weights: tuple[float, ...] = ()
    if record.shares:
        shares = record.shares[level][0]
        weights = tuple((shares * (1 if record.scale_first else len(branches))).tolist())
    dyrelu = np.zeros((0, 4), dtype=np.float32)
    if record.dyrelu:
        dyrelu = record.dyrelu[level][:, 0].float().T.cpu().numpy()
    return LevelAttention(names[level], branches, weights, dyrelu)
