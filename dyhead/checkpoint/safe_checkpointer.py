"""The project's checkpointer: it describes what it saves, and reads anybody's weights."""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import nn

from dyhead.checkpoint.import_report import ImportReport, compare
from dyhead.checkpoint.importers import import_weights, is_weight
from dyhead.checkpoint.model_card import CARD_KEY, ModelCard
from dyhead.checkpoint.model_names import fit_names
from dyhead.checkpoint.requirements import check_requirements
from dyhead.d2.checkpoint.c2_model_loading import align_and_update_state_dicts
from dyhead.d2.config import CfgNode
from dyhead.d2.utils import comm
from dyhead.data.num_classes import difference
from dyhead.safe_io.checkpointer import SafeFileCheckpointer

logger = logging.getLogger(__name__)


class SafeCheckpointer(SafeFileCheckpointer):
    """A checkpointer that survives a kill at any moment and runs no code from a file.

    It takes the place of Detectron2's `DetectionCheckpointer`, saves a model card beside the
    weights and recognises weights of other codes by their names (see docs/weights.md).

    Attributes:
        last_saved: path of the last checkpoint with a card, and the steps that it tells; "" before.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        cfg: CfgNode | None = None,
        save_to_disk: bool | None = None,
        card: Callable[[], ModelCard] | None = None,
        stripped: Collection[str] = (),
        **checkpointables: Any,
    ) -> None:
        """Save and load `model`.

        Args:
            model: may be wrapped in DistributedDataParallel.
            save_dir: folder of the checkpoints.
            cfg: the config that `model` was built from; imported detectors are checked against it.
            save_to_disk: None saves in the main process only.
            card: describes the detector; called at each save.
            stripped: names under which only weights and card are saved. Nothing can be resumed from
                such a file, so `last_checkpoint` never names it.
            checkpointables: objects saved and loaded under these names.
        """
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self._cfg = cfg
        self._card = card
        self._stripped = stripped
        self.last_saved: tuple[str, int | None] = ("", None)

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `<name>.pth` with the model card.

        Args:
            name: a file name without ending.
            kwargs: further plain values to store.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        described: dict[str, Any] = {}
        if self._card is not None:
            card = self._card()
            described[CARD_KEY] = card.as_plain()
            self.last_saved = os.path.join(self.save_dir, f"{name}.pth"), card.iteration
        if name in self._stripped:
            content = {"model": self.model.state_dict(), **described}
            self._write(name, content, is_resumable=False)
        else:
            super().save(name, **described, **kwargs)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if self._card is not None and CARD_KEY in checkpoint:
            warn_of_other_classes(checkpoint[CARD_KEY], self._card().class_names)
        imported = None if self._match_by_suffix else import_weights(checkpoint["model"])
        if imported is None:
            return self._load_unknown(checkpoint)
        model = self.model.state_dict()
        weights = fit_names(imported, model)
        report = compare(imported.source, weights, model, imported.reshaped)
        self._judge(report, weights)
        if self._cfg is not None:
            check_requirements(self._cfg, imported)
        if imported.is_foreign:  # its optimizer state belongs to other parameters
            for key in [key for key in checkpoint if key != "model"]:
                del checkpoint[key]
        return super()._load_model({"model": weights})

    def _load_unknown(self, checkpoint: dict[str, Any]) -> Any:
        """Load weights whose names no importer knows, by these names or by their endings."""
        if checkpoint.get("matching_heuristics"):
            self._convert_ndarray_to_tensor(checkpoint["model"])
            checkpoint["model"] = align_and_update_state_dicts(
                self.model.state_dict(),
                checkpoint["model"],
                c2_conversion=checkpoint.get("__author__") == "Caffe2",
            )
        weights = {
            name.removeprefix("module."): weight  # DistributedDataParallel's prefix
            for name, weight in checkpoint["model"].items()
            if is_weight(name)
        }
        self._judge(
            compare("a file with names of its own", weights, self.model.state_dict()), weights
        )
        return super()._load_model(checkpoint)

    def _judge(self, report: ImportReport, weights: Mapping[str, Any]) -> None:
        """Say what became of a file's weights.

        Raises:
            ValueError: the file was meant for another model.
        """
        check_sanity(report)
        is_complete = not (report.missing or report.unexpected or report.other_shape)
        logger.log(logging.INFO if is_complete else logging.WARNING, "%s", report)

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        """Log nothing: the report has said it."""


def warn_of_other_classes(card: Any, wanted: Sequence[str]) -> None:
    """Say it if weights to train on with belong to other classes, or to these in another order.

    Args:
        card: of the weights' file, as it was read; one that cannot be used tells nothing.
        wanted: class names of the training data; empty where they are not known.
    """
    try:
        trained = ModelCard.from_plain(card).class_names
    except ValueError:
        return
    if trained and wanted and list(trained) != list(wanted):
        logger.warning(
            "The checkpoint's classes are not those of the training data (%s): the weights of its"
            " classifier are taken by index, so that a class may begin with those of another one.",
            difference(trained, wanted, ("in the checkpoint", "in the data")),
        )


def check_sanity(report: ImportReport) -> None:
    """Refuse a file of which hardly anything fits.

    Raises:
        ValueError: see above.
    """
    if report.is_sane:
        return
    kinds = {"missing": report.missing, "not expected": report.unexpected}
    kinds["of another shape"] = list(report.other_shape)
    examples = "".join(f"; {kind}: {names[0]}, ..." for kind, names in kinds.items() if names)
    raise ValueError(
        f"Hardly a weight of the checkpoint fits the model ({len(report.matched)} of"
        f" {report.num_in_file}{examples}): check MODEL.WEIGHTS against MODEL.META_ARCHITECTURE and"
        " MODEL.BACKBONE.NAME of the config."
    )
