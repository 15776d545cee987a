"""The host's `utils.env`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.utils.env import seed_all_rng
else:
    from dyhead.d2._embedded.utils.env import seed_all_rng

__all__ = [
    "seed_all_rng",
]
