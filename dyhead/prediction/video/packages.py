"""The optional packages for videos."""

import importlib
from types import ModuleType

from dyhead.errors import UserError

INSTALL = 'pip install "dyhead[video]"'


def find_package(*names: str) -> ModuleType | None:
    """Import the first of these modules that is installed; a broken one raises its error."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    return None


def need_package(purpose: str) -> ModuleType:
    """Import PyAV (`av`), or OpenCV (`cv2`) where it is not installed.

    Raises:
        UserError: neither is.
    """
    package = find_package("av", "cv2")
    if package is None:
        raise UserError(f"{purpose} needs PyAV or OpenCV: {INSTALL}.")
    return package
