"""Collects everything about an installation, so that one broken part doesn't hide the others."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dyhead.errors import UserError
from dyhead.info.backends import describe_backends, describe_extension
from dyhead.info.devices import describe_devices
from dyhead.info.packages import describe_optional_parts, describe_versions

VARIABLES = (
    "DYHEAD_HOST",
    "DYHEAD_CPP",
    "DYHEAD_CACHE",
    "DYHEAD_DEFORM_CONV",
    "DETECTRON2_DATASETS",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "TRITON_INTERPRET",
    "CXX",
    "CC",
)


def collect_info(build: bool = False) -> dict[str, Any]:
    """Collect everything in plain containers; a part that fails is {"error": its message}.

    Args:
        build: build the C++ extension where it is not built yet.
    """
    return {
        "host": _try(_describe_host),
        "folders": _try(_describe_folders),
        "versions": _try(describe_versions),
        "devices": _try(describe_devices),
        "extension": _try(lambda: describe_extension(build)),
        "deform_conv": _try(describe_backends),
        "optional": _try(describe_optional_parts),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _try(describe: Callable[[], Any]) -> Any:
    try:
        return describe()
    except Exception as error:  # whatever an installation that doesn't fit together raises
        return {"error": f"{type(error).__name__}: {error}"}


def _describe_host() -> dict[str, str]:
    from dyhead.d2 import HOST

    if os.environ.get("DYHEAD_HOST"):
        reason = f"DYHEAD_HOST={os.environ['DYHEAD_HOST']} forces it"
    elif HOST == "detectron2":
        reason = "Detectron2 can be imported"
    else:
        reason = "Detectron2 cannot be imported"
    return {"name": HOST, "reason": reason}


def _describe_folders() -> dict[str, str]:
    try:
        from dyhead.config.find import packaged_folder

        configs = str(packaged_folder())
    except UserError:  # of the host, whose section has it
        configs = "unknown without a host"
    return {
        "package": str(Path(__file__).parents[1]),
        "configs": configs,
        "data sets": os.path.abspath(
            os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))
        ),
    }
