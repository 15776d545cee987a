"""The embedded host under a name of its own, so that it stands beside genuine Detectron2.

A package without code: its modules are those of `dyhead/d2`, imported a second time. On either host
`embedded_host.config` is the embedded one, with registries and catalogs of its own.
"""

from pathlib import Path

import dyhead

__path__ = [str(Path(dyhead.__file__).parent / "d2")]
