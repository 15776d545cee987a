"""A checkpointer that a kill at any moment, or a hostile file, does no harm."""

import os
from typing import Any

from fvcore.common.checkpoint import Checkpointer

from dyhead.safe_io.addresses import local_path
from dyhead.safe_io.containers import load_weights
from dyhead.safe_io.save import save_checkpoint_file
from dyhead.safe_io.tag import is_plain_name, read_tag, write_tag

_BY_SUFFIX = "?matching_heuristics=True"


class SafeFileCheckpointer(Checkpointer):
    """A `Checkpointer` of fvcore's that writes atomically and reads plain data only.

    It is the one owner of checkpoint files: the embedded host's `DetectionCheckpointer` and the
    project's `SafeCheckpointer` differ in what they make of the weights. Genuine Detectron2 writes
    checkpoints in place and unpickles arbitrary objects.
    """

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `<name>.pth`, and only when it is complete let `last_checkpoint` name it.

        Args:
            name: a file name without ending.
            kwargs: further plain values to store.

        Raises:
            ValueError: `name` is no plain file name.
            OSError: the file cannot be written; an older one stays as it was.
        """
        if self.save_dir and self.save_to_disk:
            states = {key: part.state_dict() for key, part in self.checkpointables.items()}
            self._write(name, {"model": self.model.state_dict(), **states, **kwargs})

    def _write(self, name: str, content: dict[str, Any], is_resumable: bool = True) -> None:
        if not is_plain_name(name):
            raise ValueError(f"Checkpoint name {name!r} must be a plain file name.")
        path = os.path.join(self.save_dir, f"{name}.pth")
        save_checkpoint_file(content, path)
        if is_resumable:
            self.tag_last_checkpoint(f"{name}.pth")
        self.logger.info("Checkpoint saved: %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Let `last_checkpoint` name this file of the same folder."""
        write_tag(self.save_dir, last_filename_basename)

    def get_checkpoint_file(self) -> str:
        """Return the path of the file that `last_checkpoint` names, "" where there is none.

        Raises:
            ValueError: it holds anything but the plain name of a file in its own folder.
        """
        try:
            return os.path.join(self.save_dir, read_tag(self.save_dir))
        except OSError:
            return ""

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model, and the checkpointables named (None: all) that the file holds.

        Args:
            path: a file, an address or the bare name of a model, as for `local_path`; "" loads
                nothing. "?matching_heuristics=True" after it matches names by their endings.
            checkpointables: names.

        Returns:
            What else the file holds.

        Raises:
            FileNotFoundError: there is no such file, or it cannot be fetched.
            ValueError: the file is damaged or holds more than plain data.
        """
        if not path:
            return super().load(path, checkpointables)
        address, self._match_by_suffix = split_query(path)
        file = self._local_path(address)
        if not os.path.isfile(file):
            raise FileNotFoundError(
                f"Checkpoint {file} does not exist: check MODEL.WEIGHTS, or with --resume the name"
                " in the output folder's last_checkpoint."
            )
        return super().load(file, checkpointables)

    def _local_path(self, address: str) -> str:
        return local_path(address)

    def _load_file(self, f: str) -> dict[str, Any]:
        data = load_weights(f)
        if self._match_by_suffix:
            data["matching_heuristics"] = True
        return data


def split_query(path: str) -> tuple[str, bool]:
    """Return a path without "?matching_heuristics=True" at its end, and whether it stood there."""
    return path.removesuffix(_BY_SUFFIX), path.endswith(_BY_SUFFIX)
