"""The number of periodic checkpoints that a run keeps."""

import os
import re
from collections.abc import Sequence
from typing import Any

from dyhead.d2.engine import hooks

_PERIODIC = re.compile(r"model_\d{7}\.pth")


def keep_last_checkpoints(built: list[Any], number: int) -> None:
    """Let the hook that saves periodically delete all but the last checkpoints.

    Args:
        built: the trainer's hooks.
        number: of checkpoints to keep; 0 keeps all.
    """
    for hook in _savers(built):
        hook.max_to_keep = number or None


def adopt_earlier_checkpoints(built: list[Any], saved: Sequence[str]) -> None:
    """Let a resumed run count the checkpoints that it has saved before; no other run's.

    Args:
        built: the trainer's hooks.
        saved: paths of all that it has saved, oldest first.
    """
    earlier = [path for path in dict.fromkeys(saved) if _is_periodic(path)]
    for hook in _savers(built):
        if hook.max_to_keep is not None:
            hook.recent_checkpoints = earlier[-hook.max_to_keep :]
            for path in earlier[: -hook.max_to_keep]:  # the number may have been lowered
                os.remove(path)


def _savers(built: list[Any]) -> list[Any]:
    return [hook for hook in built if isinstance(hook, hooks.PeriodicCheckpointer)]


def _is_periodic(path: str) -> bool:
    return bool(_PERIODIC.fullmatch(os.path.basename(path))) and os.path.exists(path)
