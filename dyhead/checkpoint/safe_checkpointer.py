"""Detectron2's checkpointer, writing atomically and reading anybody's weights safely."""

import logging
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import nn

from dyhead.checkpoint.containers import load_weights
from dyhead.checkpoint.import_report import ImportReport, compare, is_needed
from dyhead.checkpoint.importers import import_weights
from dyhead.checkpoint.model_card import KEY, ModelCard
from dyhead.checkpoint.model_names import fit_names
from dyhead.checkpoint.requirements import check_requirements
from dyhead.d2.checkpoint import DetectionCheckpointer
from dyhead.d2.config import CfgNode
from dyhead.safe_io.addresses import local_path
from dyhead.safe_io.save import save_checkpoint_file, write_text_atomically

logger = logging.getLogger(__name__)

_BY_SUFFIX = "?matching_heuristics=True"


class SafeCheckpointer(DetectionCheckpointer):
    """A `DetectionCheckpointer` that survives a kill at any moment and runs no code from a file.

    It also recognises weights of other codes by their names (see docs/weights.md). Genuine
    Detectron2 writes checkpoints in place and unpickles arbitrary objects.

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
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self._cfg = cfg
        self._card = card
        self._stripped = stripped
        self.last_saved: tuple[str, int | None] = ("", None)
        self._match_by_suffix = False

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `<name>.pth`, and only when it is complete let `last_checkpoint` name it.

        Args:
            name: a file name without ending.
            kwargs: further plain values to store.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        content = {"model": self.model.state_dict()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        if self._card is not None:
            card = self._card()
            content[KEY] = card.as_plain()
            self.last_saved = path, card.iteration
        if name in self._stripped:
            save_checkpoint_file(content, path)
        else:
            states = {key: part.state_dict() for key, part in self.checkpointables.items()}
            save_checkpoint_file({**content, **states, **kwargs}, path)
            self.tag_last_checkpoint(f"{name}.pth")
        logger.info("Checkpoint saved: %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Let `last_checkpoint` name this file of the same folder."""
        tag = os.path.join(self.save_dir, "last_checkpoint")
        write_text_atomically(last_filename_basename, tag)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model, and the checkpointables named (None: all) that the file holds.

        Args:
            path: a file, or an address: https://, detectron2://, hf://owner/repository/file.
                "?matching_heuristics=True" after it matches names by their endings.
            checkpointables: names.

        Returns:
            what else the file holds.

        Raises:
            FileNotFoundError: there is no such file, or it cannot be fetched.
            ValueError: the file is damaged, holds more than plain data, was meant for another
                model, or needs other settings than the config's.
        """
        if not path:
            return super().load(path, checkpointables)
        address, self._match_by_suffix = split_query(path)
        file = local_path(address)
        if not os.path.isfile(file):
            raise FileNotFoundError(
                f"Checkpoint {file} does not exist: check MODEL.WEIGHTS, or with --resume the name"
                " in the output folder's last_checkpoint."
            )
        try:
            return super().load(file, checkpointables)
        finally:
            self._parsed_url_during_load = None  # Detectron2 forgets to reset it on errors

    def _load_file(self, f: str) -> dict[str, Any]:
        data = load_weights(f)
        if self._match_by_suffix:
            data["matching_heuristics"] = True
        return data

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
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
        """Leave names that no importer knows to Detectron2: as they are, or by their endings."""
        weights = dict(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        report = ImportReport("a file with names of its own")
        report.other_shape = {name: shapes for name, *shapes in incompatible.incorrect_shapes}
        report.unexpected = list(incompatible.unexpected_keys)
        report.missing = [
            name
            for name in incompatible.missing_keys
            if is_needed(name) and name not in report.other_shape
        ]
        num_matched = len(weights) - len(report.unexpected) - len(report.other_shape)
        report.matched = list(weights)[:num_matched]
        self._judge(report, weights)
        return incompatible

    def _judge(self, report: ImportReport, weights: Mapping[str, Any]) -> None:
        """Say what became of a file's weights.

        Raises:
            ValueError: the file was meant for another model.
        """
        check_sanity(report)
        is_complete = not (report.missing or report.unexpected or report.other_shape)
        logger.log(logging.INFO if is_complete else logging.WARNING, "%s", report)

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        """Nothing: the report has said it."""


def split_query(path: str) -> tuple[str, bool]:
    """A path without "?matching_heuristics=True" at its end, and whether it stood there."""
    return path.removesuffix(_BY_SUFFIX), path.endswith(_BY_SUFFIX)


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
