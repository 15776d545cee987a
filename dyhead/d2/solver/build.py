"""The host's `solver.build`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.solver.build import maybe_add_gradient_clipping
else:
    from dyhead.d2._embedded.solver.build import maybe_add_gradient_clipping

__all__ = [
    "maybe_add_gradient_clipping",
]
