"""Detectron2's public interface: the embedded host, or genuine Detectron2.

The modules below are the embedded host: own work from the part of Detectron2's interface that its
projects use, with its names, signatures, config keys, defaults, state-dict keys and formats, so
that configs, checkpoints and registered backbones work on either host. They import of the project
only what knows no host (`safe_io`, `ops`, `box_geometry`, `process_group` and the drawing of
`visualization`), and late, when they are asked for, `default_predictor` and the deformable
bottleneck block, which are written upon this interface.

Where genuine Detectron2 is chosen, every `dyhead.d2.x.y` is the module `detectron2.x.y` itself and
none of them is imported. The environment variable DYHEAD_HOST forces "detectron2" or "embedded".
"""

import importlib.util
import os

from dyhead.d2_alias import PackageAlias
from dyhead.errors import UserError

HOSTS = ("detectron2", "embedded")


def choose_host(requested: str | None = None) -> str:
    """Decide once which host serves `dyhead.d2`.

    Only the presence of Detectron2 is looked up, nothing is imported here: a broken installation
    has to fail loudly where it is used instead of switching hosts silently.

    Args:
        requested: "detectron2" or "embedded" to force one (the environment variable DYHEAD_HOST);
            None or "" takes genuine Detectron2 when it can be found.

    Raises:
        UserError: `requested` names no host, or is "detectron2", which cannot be found.
    """
    if requested == "embedded":  # even where looking for Detectron2 would fail
        return requested
    if requested and requested not in HOSTS:
        raise UserError(f"DYHEAD_HOST={requested!r} names no host: use one of {', '.join(HOSTS)}.")
    if importlib.util.find_spec("detectron2") is not None:
        return "detectron2"
    if requested:
        raise UserError(
            "DYHEAD_HOST=detectron2, but Detectron2 cannot be imported: install it, put its source"
            " on PYTHONPATH, or unset DYHEAD_HOST to run on the embedded host."
        )
    return "embedded"


HOST = choose_host(os.environ.get("DYHEAD_HOST"))

if HOST == "detectron2":
    __path__ = []  # the files below would be taken for modules that Detectron2 lacks
    PackageAlias(__name__, "detectron2").install()
