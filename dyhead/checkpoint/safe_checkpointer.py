"""Detectron2's checkpointer, writing atomically and reading safely on either host."""

import logging
import os
from typing import Any

from dyhead.d2.checkpoint import DetectionCheckpointer
from dyhead.d2.safe_io.load import load_checkpoint_file
from dyhead.d2.safe_io.save import save_checkpoint_file, write_text_atomically

logger = logging.getLogger(__name__)


class SafeCheckpointer(DetectionCheckpointer):
    """A `DetectionCheckpointer` that survives a kill at any moment and runs no code from a file.

    Genuine Detectron2 writes checkpoints in place and unpickles arbitrary objects.
    """

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

        Returns:
            what else the file holds.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds more than plain data, or no weight in it fits.
        """
        file = path.partition("?")[0]
        if file and "://" not in file and not os.path.isfile(file):
            raise FileNotFoundError(f"Checkpoint {file} does not exist: check MODEL.WEIGHTS.")
        try:
            return super().load(path, checkpointables)
        finally:
            self._parsed_url_during_load = None  # Detectron2 forgets to reset it on errors

    def _load_file(self, f: str) -> dict[str, Any]:
        if f.endswith(".pkl"):
            return _from_model_zoo(load_checkpoint_file(f))
        if f.endswith(".pyth"):
            return _from_pycls(load_checkpoint_file(f), f)
        return super()._load_file(f)

    def _torch_load(self, f: str) -> dict[str, Any]:
        return load_checkpoint_file(f)

    def _load_model(self, checkpoint: Any) -> Any:
        incompatible = super()._load_model(checkpoint)
        names = {name for name, _ in self.model.named_parameters()}
        if names and names.issubset(incompatible.missing_keys):
            raise ValueError(
                "No weight of the checkpoint fits the model: check MODEL.WEIGHTS against"
                " MODEL.META_ARCHITECTURE and MODEL.BACKBONE.NAME of the config."
            )
        return incompatible


def _from_model_zoo(data: dict[str, Any]) -> dict[str, Any]:
    """Detectron2's zoo says whose weights it holds; anything else has Caffe2's blob names."""
    if "model" in data and "__author__" in data:
        return data
    blobs = data.get("blobs", data)
    weights = {name: blob for name, blob in blobs.items() if not name.endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def _from_pycls(data: dict[str, Any], path: str) -> dict[str, Any]:
    if "model_state" not in data:
        raise ValueError(f"Checkpoint {path} is not one of pycls: it lacks 'model_state'.")
    weights = {
        name: value
        for name, value in data["model_state"].items()
        if not name.endswith("num_batches_tracked")
    }
    return {"model": weights, "__author__": "pycls", "matching_heuristics": True}
