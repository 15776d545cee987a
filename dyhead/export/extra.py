"""The packages of the optional extra `export`."""

import importlib
from types import ModuleType

from dyhead.errors import UserError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def import_extra(name: str) -> ModuleType:
    """Import one of `PACKAGES`.

    Raises:
        UserError: it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"ONNX models need the package {name}, which cannot be imported ({error}): run"
            ' `pip install "dyhead[export]"`.'
        ) from error
