"""The host's `utils.collect_env`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.utils.collect_env import collect_env_info
else:
    from dyhead.d2._embedded.utils.collect_env import collect_env_info

__all__ = [
    "collect_env_info",
]
