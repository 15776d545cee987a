"""A checkpointer that fits the weights of the model zoos to a model."""

from typing import Any

from torch import nn

from dyhead.safe_io.checkpointer import SafeFileCheckpointer

from ..utils import comm
from ..utils.file_io import PathManager
from .c2_model_loading import align_and_update_state_dicts


class DetectionCheckpointer(SafeFileCheckpointer):
    """Saves and loads a model together with any objects that have `state_dict()`.

    Formats read: `.pth` of `torch.save`, safetensors, `.pkl` of Detectron2's model zoo, `.pkl` of
    Caffe2 (among them the MSRA ImageNet weights) and `.pyth` of pycls; the last two, and any path
    that ends in `?matching_heuristics=True`, are fitted to the model by longest suffix.

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

    def _local_path(self, address: str) -> str:
        return str(self.path_manager.get_local_path(address))

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


def _forget_harmless_keys(model: nn.Module, incompatible: Any) -> None:
    """Leave out of the report what the config restores: image statistics and cell anchors."""
    for name, _ in model.named_buffers(recurse=False):
        if name in ("pixel_mean", "pixel_std") and name in incompatible.missing_keys:
            incompatible.missing_keys.remove(name)
    for key in list(incompatible.unexpected_keys):
        if "anchor_generator.cell_anchors" in key:
            incompatible.unexpected_keys.remove(key)
