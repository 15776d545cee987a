"""A checkpointer that writes atomically, reads safely and knows the model zoos' formats."""

import logging
import os
from typing import Any
from urllib.parse import parse_qs, urlparse

from fvcore.common.checkpoint import Checkpointer
from torch import nn

from dyhead.safe_io.load import load_checkpoint_file
from dyhead.safe_io.save import save_checkpoint_file, write_text_atomically

from ..utils import comm
from ..utils.file_io import PathManager
from .c2_model_loading import align_and_update_state_dicts

logger = logging.getLogger("detectron2.checkpoint.detection_checkpoint")


class DetectionCheckpointer(Checkpointer):
    """Saves and loads a model together with any objects that have `state_dict()`.

    Formats read: `.pth` of `torch.save`, `.pkl` of Detectron2's model zoo, `.pkl` of Caffe2 (among
    them the MSRA ImageNet weights) and `.pyth` of pycls; the last two, and any path that ends in
    `?matching_heuristics=True`, are fitted to the model by longest suffix.

    Args:
        model: may be wrapped in DistributedDataParallel.
        save_dir: the local folder for checkpoints and the file `last_checkpoint`, which names the
            newest one.
        save_to_disk: None saves in the main process only.
        checkpointables: objects saved and loaded under these names.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager
        self._match_by_suffix = False

    def save(self, name: str, **kwargs: Any) -> None:
        """Save `<name>.pth` and only then let `last_checkpoint` name it, each atomically.

        Args:
            name: file name without the ending.
            kwargs: further plain values to save.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        if os.path.basename(name) != name:
            raise ValueError(f"Checkpoint name {name!r} must be a plain file name.")
        states = {key: object_.state_dict() for key, object_ in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        save_checkpoint_file({"model": self.model.state_dict(), **states, **kwargs}, path)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Let `last_checkpoint` name this file of the same folder."""
        write_text_atomically(
            last_filename_basename, os.path.join(self.save_dir, "last_checkpoint")
        )

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model and the checkpointables found in the file.

        Args:
            path: a path or URL; an empty one loads nothing.
            checkpointables: names of those to load; None means all.

        Returns:
            What else the file holds.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or not plain data, or the query after "?" is unknown.
        """
        logger.info("[DetectionCheckpointer] Loading from %s ...", path)
        if not path:
            return super().load(path, checkpointables)
        path, self._match_by_suffix = _split_query(path)
        local_path = self.path_manager.get_local_path(path)
        if not os.path.isfile(local_path):
            raise FileNotFoundError(f"Checkpoint {path} does not exist: check MODEL.WEIGHTS.")
        return super().load(local_path, checkpointables)

    def _load_file(self, f: str) -> dict[str, Any]:
        data = load_checkpoint_file(f)
        if f.endswith(".pkl"):
            data = _from_model_zoo(data)
        elif f.endswith(".pyth"):
            data = _from_pycls(data, f)
        elif "model" not in data:
            data = {"model": data}
        if self._match_by_suffix:
            data["matching_heuristics"] = True
        return data

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if checkpoint.get("matching_heuristics", False):
            self._convert_ndarray_to_tensor(checkpoint["model"])
            checkpoint["model"] = align_and_update_state_dicts(
                self.model.state_dict(),
                checkpoint["model"],
                c2_conversion=checkpoint.get("__author__") == "Caffe2",
            )
        incompatible = super()._load_model(checkpoint)
        _forget_harmless_keys(self.model, incompatible)
        return incompatible


def _split_query(path: str) -> tuple[str, bool]:
    """The path before "?", and whether the query asks for matching by suffix."""
    url = urlparse(path)
    query = parse_qs(url.query, keep_blank_values=True)
    match_by_suffix = query.pop("matching_heuristics", ["False"]) == ["True"]
    if query:
        raise ValueError(f"Unknown query in {path}: only ?matching_heuristics=True is supported.")
    return (url._replace(query="").geturl() if url.query else path), match_by_suffix


def _from_model_zoo(data: dict[str, Any]) -> dict[str, Any]:
    if "model" in data and "__author__" in data:
        logger.info("The checkpoint was written by %r", data["__author__"])
        return data
    blobs = data.get("blobs", data)  # detection models have "blobs", ImageNet ones don't
    model = {name: blob for name, blob in blobs.items() if not name.endswith("_momentum")}
    return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}


def _from_pycls(data: dict[str, Any], path: str) -> dict[str, Any]:
    if "model_state" not in data:
        raise ValueError(f"Checkpoint {path} is no pycls checkpoint: it lacks 'model_state'.")
    state = data["model_state"].items()
    model = {name: value for name, value in state if not name.endswith("num_batches_tracked")}
    return {"model": model, "__author__": "pycls", "matching_heuristics": True}


def _forget_harmless_keys(model: nn.Module, incompatible: Any) -> None:
    """Leave out of the report what the config restores: image statistics and cell anchors."""
    for name, _ in model.named_buffers(recurse=False):
        if name in ("pixel_mean", "pixel_std") and name in incompatible.missing_keys:
            incompatible.missing_keys.remove(name)
    for key in list(incompatible.unexpected_keys):
        if "anchor_generator.cell_anchors" in key:
            incompatible.unexpected_keys.remove(key)
