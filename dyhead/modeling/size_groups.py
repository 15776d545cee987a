"""Computes batches of several sizes so that each picture is computed as it would be alone.

A batch is padded to its largest picture. GroupNorm and pooled attentions average over the padding,
so that a small picture beside a large one would be detected differently from alone. Pictures of
different padded sizes are therefore computed one size after the other.
"""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dyhead.d2.structures import ImageList

Batch = list[dict[str, Any]]


def compute_by_size(
    model: nn.Module, before_each: Callable[[], Any] | None = None, in_training: bool = False
) -> None:
    """Let a detector compute batches in groups of one padded size.

    Batches of one size go through as they are. Names of parameters stay; the model's class becomes
    one derived from it, of the same name.

    Args:
        model: takes Detectron2's inputs; changed in place.
        before_each: called before each pass of the model in evaluation, and each step of training.
        in_training: training batches go in groups, too. Losses have to be means over the pictures
            of a batch: the groups' are averaged, each as often as it has pictures.
    """
    kind: Any = type(model)
    model.__class__ = _class_by_size(kind)
    model._before_each_pass = before_each  # type: ignore[assignment]
    model._groups_in_training = in_training  # type: ignore[assignment]


@functools.cache
def _class_by_size(base: Any) -> Any:
    """Derive a class from a detector's, so that neither copies nor tracing see a wrapper."""
    if issubclass(base, _BySize):
        return base
    own = {"__doc__": base.__doc__, "__module__": base.__module__, "base": base}
    return types.new_class(base.__name__, (_BySize, base), exec_body=lambda body: body.update(own))


class _BySize(nn.Module):
    base: type
    _before_each_pass: Callable[[], Any] | None
    _groups_in_training: bool

    def forward(self, batched_inputs: Batch) -> Any:
        if not self.training:
            return detect_by_size(self, self._pass, batched_inputs)
        if self._groups_in_training:
            return self._average_losses(batched_inputs)
        return self._pass(batched_inputs)

    def _average_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        self._prepare()
        forward, groups = super().forward, group_by_size(self, batched_inputs)
        losses = [forward([batched_inputs[index] for index in indices]) for indices in groups]
        shares = [len(indices) / len(batched_inputs) for indices in groups]
        means = {name: shares[0] * loss for name, loss in losses[0].items()}
        for share, others in zip(shares[1:], losses[1:], strict=True):
            means = {name: mean + share * others[name] for name, mean in means.items()}
        return means

    def _pass(self, batched_inputs: Batch) -> Any:
        self._prepare()
        return super().forward(batched_inputs)

    def _prepare(self) -> None:
        if self._before_each_pass is not None:
            self._before_each_pass()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Let copies and pickles derive the class anew, for it is in no module."""
        return _empty, (self.base,), self.__dict__


def _empty(base: Any) -> Any:
    derived = _class_by_size(base)
    return derived.__new__(derived)


def detect_by_size(
    model: nn.Module, detect: Callable[[Batch], Sequence[Any]], batched_inputs: Batch
) -> Sequence[Any]:
    """Detect in the pictures of one padded size after the other.

    Args:
        model: whose backbone says what pictures are padded to.
        detect: pictures to an output for each.
        batched_inputs: Detectron2's.

    Returns:
        the outputs, in the order of the pictures.
    """
    groups = group_by_size(model, batched_inputs)
    if len(groups) < 2:
        return detect(batched_inputs)
    outputs: list[Any] = [None] * len(batched_inputs)
    for indices in groups:
        found = detect([batched_inputs[index] for index in indices])
        for index, output in zip(indices, found, strict=True):
            outputs[index] = output
    return outputs


def group_by_size(model: nn.Module, batched_inputs: Batch) -> list[list[int]]:
    """Group the indices of pictures by padded size, in the order of their first pictures.

    Only shapes are looked at: nothing waits for a GPU.
    """
    sizes = [tuple(each["image"].shape[-2:]) for each in batched_inputs]
    if len(set(sizes)) < 2:
        return [list(range(len(sizes)))]
    padded = {size: _padded_size(model, size) for size in set(sizes)}
    groups: dict[torch.Size, list[int]] = {}
    for index, size in enumerate(sizes):
        groups.setdefault(padded[size], []).append(index)
    return list(groups.values())


def _padded_size(model: nn.Module, size: tuple[int, ...]) -> torch.Size:
    """Compute the height and width that the host pads a picture of this size to."""
    backbone = getattr(model, "backbone", None)
    image = ImageList.from_tensors(
        [torch.empty(1, *size, device="meta")],
        getattr(backbone, "size_divisibility", 0),
        padding_constraints=getattr(backbone, "padding_constraints", None),
    )
    return image.tensor.shape[-2:]
