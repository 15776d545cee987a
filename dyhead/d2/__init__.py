"""The front door to Detectron2.

`dyhead.d2` has Detectron2's module names. Each module re-exports what the project uses from genuine
Detectron2 where that is installed, and from the embedded host in `dyhead.d2._embedded` otherwise;
the environment variable DYHEAD_HOST ("detectron2" or "embedded") forces either. Replacing
`dyhead.d2` by `detectron2` in the project's source leaves a pure Detectron2 project.

`dyhead.d2.safe_io` has no counterpart there: it reads and writes files safely on either host.
"""

from dyhead.d2._host import HOST

__all__ = ["HOST"]
