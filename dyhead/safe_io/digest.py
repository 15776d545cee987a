"""Checksums in safetensors files, whose format has none: own ones carry a SHA-256."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load as parse_safetensors
from safetensors.torch import load_file, save
from torch import Tensor

from dyhead.safe_io.json_text import strict_json

DIGEST_KEY = "sha256"


def to_safetensors(weights: dict[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file, with the digest of its tensors in the metadata.

    Args:
        weights: contiguous, none sharing memory with another.
        metadata: further texts.
    """
    digest = _digest(save(weights))
    return save(weights, {**metadata, DIGEST_KEY: digest})


def load_safetensors(path: str) -> dict[str, Tensor]:
    """Read a safetensors file, and compare it with its digest where it carries one.

    Raises:
        ValueError: bytes have changed since it was written.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    expected = header.get("__metadata__", {}).get(DIGEST_KEY)
    if expected is None:
        return load_file(path)
    with open(path, "rb") as file:
        content = file.read()
    if _digest(content) != expected:
        raise ValueError("bytes have changed since it was written (its SHA-256 differs)")
    return parse_safetensors(content)


def _digest(content: bytes) -> str:
    """Return the SHA-256 of the tensors of a file and of what describes them, without metadata."""
    begin = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8:begin])
    header.pop("__metadata__", None)
    digest = hashlib.sha256(strict_json(header, sort_keys=True).encode())
    digest.update(memoryview(content)[begin:])
    return digest.hexdigest()
