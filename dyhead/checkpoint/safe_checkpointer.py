"""Detectron2's checkpointer, writing atomically and reading anybody's weights safely."""

import logging
import os
from typing import Any

from torch import nn

from dyhead.checkpoint.containers import load_weights
from dyhead.checkpoint.import_report import ImportReport, compare
from dyhead.checkpoint.importers import import_weights
from dyhead.checkpoint.model_names import fit_names
from dyhead.checkpoint.requirements import check_requirements
from dyhead.d2.checkpoint import DetectionCheckpointer
from dyhead.d2.config import CfgNode
from dyhead.d2.safe_io.addresses import local_path
from dyhead.d2.safe_io.save import save_checkpoint_file, write_text_atomically

logger = logging.getLogger(__name__)

_BY_SUFFIX = "?matching_heuristics=True"


class SafeCheckpointer(DetectionCheckpointer):
    """A `DetectionCheckpointer` that survives a kill at any moment and runs no code from a file.

    It also recognises weights of other codes by their names (see docs/weights.md). Genuine
    Detectron2 writes checkpoints in place and unpickles arbitrary objects.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        cfg: CfgNode | None = None,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        """Save and load `model`.

        Args:
            model: may be wrapped in DistributedDataParallel.
            save_dir: folder of the checkpoints.
            cfg: the config that `model` was built from; imported detectors are checked against it.
            save_to_disk: None saves in the main process only.
            checkpointables: objects saved and loaded under these names.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self._cfg = cfg
        self._match_by_suffix = False

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `<name>.pth`, and only when it is complete let `last_checkpoint` name it.

        Args:
            name: a file name without ending.
            kwargs: further plain values to store.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        save_checkpoint_file({"model": self.model.state_dict(), **states, **kwargs}, path)
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
        self._match_by_suffix = path.endswith(_BY_SUFFIX)
        file = local_path(path.removesuffix(_BY_SUFFIX))
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
        _log_and_check(report)
        if self._cfg is not None:
            check_requirements(self._cfg, imported)
        if imported.is_foreign:  # its optimizer state belongs to other parameters
            for key in [key for key in checkpoint if key != "model"]:
                del checkpoint[key]
        return super()._load_model({"model": weights})

    def _load_unknown(self, checkpoint: dict[str, Any]) -> Any:
        """Leave names that no importer knows to Detectron2: as they are, or by their endings."""
        names = list(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        report = ImportReport("a file with names of its own")
        report.missing = list(incompatible.missing_keys)
        report.unexpected = list(incompatible.unexpected_keys)
        report.other_shape = [name for name, *_ in incompatible.incorrect_shapes]
        num_matched = len(names) - len(report.unexpected) - len(report.other_shape)
        report.matched = names[:num_matched]
        _log_and_check(report)
        return incompatible

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        """Nothing: the report has said it."""


def _log_and_check(report: ImportReport) -> None:
    if not report.is_sane:
        raise ValueError(
            f"Hardly a weight of the checkpoint fits the model: check MODEL.WEIGHTS against"
            f" MODEL.META_ARCHITECTURE and MODEL.BACKBONE.NAME of the config. {report}"
        )
    is_complete = not (report.missing or report.unexpected or report.other_shape)
    logger.log(logging.INFO if is_complete else logging.WARNING, "%s", report)
