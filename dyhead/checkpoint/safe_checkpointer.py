"""The project's checkpointer: it describes what it saves, and reads anybody's weights."""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from dyhead.checkpoint.finite import names_of_bad_values
from dyhead.checkpoint.import_report import ImportReport, compare
from dyhead.checkpoint.importers import import_weights, is_weight
from dyhead.checkpoint.importers.input_channels import adapt_input
from dyhead.checkpoint.model_card import CARD_KEY, ModelCard
from dyhead.checkpoint.model_names import fit_names
from dyhead.checkpoint.requirements import check_network, check_requirements
from dyhead.checkpoint.resume import check_weights
from dyhead.d2.checkpoint.c2_model_loading import align_and_update_state_dicts
from dyhead.d2.config import CfgNode
from dyhead.d2.utils import comm
from dyhead.data.num_classes import difference
from dyhead.errors import first_few
from dyhead.safe_io.checkpointer import SafeFileCheckpointer

_ADVICE = (
    "Resume with the config that the run began with, write the name of another checkpoint into"
    " last_checkpoint, or begin a new run from its weights: MODEL.WEIGHTS, without --resume."
)

logger = logging.getLogger(__name__)


class SafeCheckpointer(SafeFileCheckpointer):
    """A checkpointer that survives a kill at any moment and runs no code from a file.

    It takes the place of Detectron2's `DetectionCheckpointer`, saves a model card beside the
    weights and recognises weights of other codes by their names (see docs/weights.md).

    Attributes:
        last_saved: path of the last checkpoint with a card, and the steps that it tells; "" before.
        resumable: paths of the checkpoints that this run has saved, or saved before it was resumed,
            oldest first; those that are deleted since included.
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
        saving: Callable[[], AbstractContextManager[Any]] = nullcontext,
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
            saving: a context in which `model` has the weights to save.
            checkpointables: objects saved and loaded under these names.
        """
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self._cfg = cfg
        self._card = card
        self._stripped = stripped
        self._saving = saving
        self._is_resuming = False
        self.last_saved: tuple[str, int | None] = ("", None)
        self.resumable: list[str] = []

    @property
    def last_resumable(self) -> str:
        """Path of the last checkpoint that this run has saved or gone on from; "" before."""
        return self.resumable[-1] if self.resumable else ""

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `<name>.pth` with the model card.

        Args:
            name: a file name without ending.
            kwargs: further plain values to store.

        Raises:
            FloatingPointError: a weight, or a number of the training's state, is NaN or infinite;
                nothing was written.
            OSError: the file cannot be written; an older one stays as it was.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        described: dict[str, Any] = {}
        if self._card is not None:
            card = self._card()
            described[CARD_KEY] = card.as_plain()
            self.last_saved = os.path.join(self.save_dir, f"{name}.pth"), card.iteration
        with self._saving():
            if name in self._stripped:
                content = {"model": self.model.state_dict(), **described}
                self._write(name, content, is_resumable=False)
            else:
                super().save(name, **described, **kwargs)

    def _write(self, name: str, content: dict[str, Any], is_resumable: bool = True) -> None:
        self._refuse_bad_values(content)
        super()._write(name, content, is_resumable)
        if is_resumable:
            self.resumable.append(os.path.join(self.save_dir, f"{name}.pth"))

    def _refuse_bad_values(self, content: Mapping[str, Any]) -> None:
        """Keep what nothing can be resumed from out of `last_checkpoint`."""
        if not (bad := list(names_of_bad_values(content))):
            return
        last = self.last_resumable
        raise FloatingPointError(
            f"{len(bad)} tensors of the model or its training hold NaN or infinite values"
            f" ({first_few(bad, 3)}), so nothing was saved: "
            + (f"{last} is the last good checkpoint; " if last else "there is no earlier one; ")
            + "lower SOLVER.BASE_LR or clip gradients (SOLVER.CLIP_GRADIENTS)"
            + (", and --resume." if last else ", and begin anew.")
        )

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Go on from what `last_checkpoint` names if `resume` and there is one, else load `path`.

        To go on, the file has to hold the whole state of the same model and its training; before
        any of it is taken, all of it is looked at.

        Raises:
            ValueError: the file is damaged, or nothing can be resumed from it.
        """
        if not (resume and self.has_checkpoint()):
            return super().resume_or_load(path, resume=False)
        self._is_resuming = True
        try:
            self.resumable.append(self.get_checkpoint_file())
            return self.load(self.last_resumable)
        finally:
            self._is_resuming = False

    def _load_file(self, f: str) -> dict[str, Any]:
        data = super()._load_file(f)
        if self._is_resuming:
            try:
                self._check_resumable(data)
            except ValueError as error:
                raise ValueError(f"{f} cannot be resumed from: {error}. {_ADVICE}") from error
        return data

    def _check_resumable(self, data: Mapping[str, Any]) -> None:
        """Compare everything in a file with what is to take it.

        Raises:
            ValueError: something is missing, or does not fit; the message names it.
        """
        if missing := [name for name in self.checkpointables if name not in data]:
            raise ValueError(
                f"it holds weights only, without the state of a training ({first_few(missing)})"
            )
        self._check_classes(data.get(CARD_KEY))
        check_weights(data["model"], self.model.state_dict())
        for name, part in self.checkpointables.items():
            if hasattr(part, "check_state_dict"):
                try:
                    part.check_state_dict(data[name])
                except (TypeError, KeyError, AttributeError, IndexError) as error:
                    raise ValueError(f"its training state is incomplete ({error})") from error

    def _check_classes(self, card: Any) -> None:
        theirs = list(card.get("class_names") or ()) if isinstance(card, Mapping) else []
        ours = list(self._card().class_names) if self._card is not None else []
        if theirs and ours and theirs != ours:
            where = ("in the checkpoint", "in the data set")
            raise ValueError(
                f"it was trained for {len(theirs)} classes, and they are not the {len(ours)} of the"
                f" data set ({difference(theirs, ours, where)})"
            )

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if self._card is not None and CARD_KEY in checkpoint:
            warn_of_other_classes(checkpoint[CARD_KEY], self._card().class_names)
        model = self.model.state_dict()
        imported = None if self._match_by_suffix else import_weights(checkpoint["model"], model)
        if imported is None:
            return self._load_unknown(checkpoint)
        weights = fit_names(imported, model)
        adapted = adapt_input(weights, model) if imported.is_backbone else {}
        weights, reshaped = {**weights, **adapted}, [*imported.reshaped, *adapted]
        report = compare(imported.source, weights, model, reshaped, imported.left_out)
        if self._cfg is not None:
            check_network(self._cfg, imported, report)
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
