"""Which Detectron2 the project runs on: the genuine one, or the embedded host."""

import importlib.util
import os

HOSTS = ("detectron2", "embedded")


def choose_host(requested: str | None = None) -> str:
    """Decide once which host serves `dyhead.d2`.

    Only the presence of Detectron2 is looked up, nothing is imported here: a broken installation
    has to fail loudly where it is used instead of switching hosts silently.

    Args:
        requested: "detectron2" or "embedded" to force one (the environment variable DYHEAD_HOST);
            None or "" takes genuine Detectron2 when it can be found.

    Raises:
        ValueError: `requested` names no host.
        ModuleNotFoundError: "detectron2" was requested and cannot be found.
    """
    found = importlib.util.find_spec("detectron2") is not None
    if not requested:
        return "detectron2" if found else "embedded"
    if requested not in HOSTS:
        raise ValueError(f"DYHEAD_HOST={requested!r} names no host: use one of {', '.join(HOSTS)}.")
    if requested == "detectron2" and not found:
        raise ModuleNotFoundError(
            "DYHEAD_HOST=detectron2, but Detectron2 cannot be imported: install it, put its source"
            " on PYTHONPATH, or unset DYHEAD_HOST to run on the embedded host."
        )
    return requested


HOST = choose_host(os.environ.get("DYHEAD_HOST"))
