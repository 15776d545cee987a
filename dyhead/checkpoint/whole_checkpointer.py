"""Loading weights to use them: whatever would leave a part of a model random is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from dyhead.checkpoint.import_report import ImportReport
from dyhead.checkpoint.safe_checkpointer import SafeCheckpointer, check_sanity, logger
from dyhead.d2.config import CfgNode
from dyhead.data.num_classes import get_num_classes, num_classes_key
from dyhead.errors import UserError, first_few

Shape = tuple[int, ...]

_SHOWN = 3  # tensors named in a sentence


class WholeCheckpointer(SafeCheckpointer):
    """A `SafeCheckpointer` for detectors that are not trained any more.

    Training may start from a backbone's weights alone; detections may not.
    """

    def __init__(
        self, model: torch.nn.Module, cfg: CfgNode, *, source: str, allow_partial: bool = False
    ) -> None:
        """Load weights into `model`.

        Args:
            model: see `SafeCheckpointer`.
            cfg: the config that `model` was built from.
            source: what to call the file in errors.
            allow_partial: only warn of what is missing, misshapen or not finite.
        """
        super().__init__(model, cfg=cfg)
        self._whole_cfg = cfg
        self._source = source
        self._allow_partial = allow_partial

    def _judge(self, report: ImportReport, weights: Mapping[str, Any]) -> None:
        """Refuse what leaves a part of the model random or useless.

        Raises:
            UserError: a weight is missing, has another shape or is not finite.
            ValueError: the file was meant for another model.
        """
        check_sanity(report)
        fault = next(self._faults(report, weights), None)
        if fault is not None and not self._allow_partial:
            raise UserError(fault)
        super()._judge(report, weights)
        if fault is not None:
            logger.warning("Going on all the same, as allowed. %s", fault)

    def _faults(self, report: ImportReport, weights: Mapping[str, Any]) -> Iterator[str]:
        if report.other_shape:
            yield self._other_shapes(report.other_shape)
        if report.missing:
            yield (
                f"{self._source} lacks {len(report.missing)} of the model's {report.num_in_model}"
                f" weights ({first_few(report.missing, _SHOWN)}), which would stay random: name the"
                " checkpoint of a whole detector that was trained with this config."
            )
        if spoilt := [name for name in report.matched if not _is_finite(weights.get(name))]:
            yield (
                f"{self._source} holds NaN or infinite values in {len(spoilt)} weights"
                f" ({first_few(spoilt, _SHOWN)}): its training diverged or the file is damaged, so"
                " take an earlier checkpoint."
            )

    def _other_shapes(self, shapes: Mapping[str, tuple[Shape, Shape]]) -> str:
        num_classes = get_num_classes(self._whole_cfg)
        predictors = {name: both for name, both in shapes.items() if "cls" in name}
        numbers = {_classes_of_file(*both, num_classes) for both in predictors.values()}
        if len(numbers) == 1 and (number := numbers.pop()):
            name, (theirs, ours) = next(iter(predictors.items()))
            return (
                f"{self._source} was trained for another number of classes: {number}, while the"
                f" model has {num_classes} ({name} is {theirs} in the file and {ours} in the"
                f" model): name data sets of its {number} classes, or set"
                f" {num_classes_key(self._whole_cfg)} {number} where none is named."
            )
        described = [
            f"{name} is {theirs} in the file and {ours} in the model"
            for name, (theirs, ours) in shapes.items()
        ]
        return (
            f"{self._source} was made for another config, for {len(shapes)} weights have another"
            f" shape ({first_few(described, _SHOWN)}): use the config that it was trained with."
        )


def _classes_of_file(theirs: Shape, ours: Shape, num_classes: int | None) -> int | None:
    """Return the number of classes of a file's predictor; None if it differs in more than that."""
    if not num_classes or not theirs or theirs[1:] != ours[1:]:
        return None
    if ours[0] == num_classes + 1:  # a two-stage detector's, with the background
        return theirs[0] - 1
    per_class, rest = divmod(ours[0], num_classes)
    return None if rest or theirs[0] % per_class else theirs[0] // per_class


def _is_finite(weight: Any) -> bool:
    value = torch.as_tensor(weight) if weight is not None else torch.zeros(0)
    return not value.is_floating_point() or bool(value.isfinite().all())
