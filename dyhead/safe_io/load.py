"""Reading checkpoint files without ever running what they contain.

A pickle is a program: reading one from a stranger runs the stranger's code. `.pth` and `.pyth`
files go through PyTorch's restricted reader; other pickles (`.pkl`, Detectron2's and Caffe2's model
zoos) through one that knows no callable but the stand-ins below, which build numeric NumPy arrays
from raw bytes. safetensors files hold no program.
"""

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dyhead.safe_io.archive import check_archive, check_is_data
from dyhead.safe_io.digest import load_safetensors
from dyhead.shortages import describe_shortage

_ZIP = b"PK\x03\x04"  # since PyTorch 1.6
_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # before it


class _PickledDtype:
    """Stands for `numpy.dtype` while a file is read; knows plain numbers only."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biufc":
            raise pickle.UnpicklingError(f"arrays of NumPy type {code!r} are not numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        byte_order = state[1]
        if byte_order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(byte_order)


class _PickledArray:
    """Stands for `numpy.ndarray` while a file is read; its bytes are copied, never interpreted."""

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.array = _array_from_bytes(raw, dtype, shape, "F" if is_fortran else "C")


def _array_from_bytes(raw: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> np.ndarray:
    if not isinstance(dtype, _PickledDtype):
        raise pickle.UnpicklingError("an array has no numeric type")
    data = _to_bytes(raw)
    array = np.frombuffer(data, dtype.dtype).reshape(shape, order=order)
    return array.astype(dtype.dtype.newbyteorder("="))  # a writable copy in native byte order


def _to_bytes(raw: Any, encoding: str = "latin1") -> bytes:
    """Bytes as Python 2 wrote them (text, one character for each byte) or as Python 3 does."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"the encoding {encoding!r} is not one of bytes")
    return raw.encode("latin1") if isinstance(raw, str) else bytes(memoryview(raw))


def _empty_bytes() -> bytes:
    return b""


def _array_from_buffer(raw: Any, dtype: Any, shape: tuple[int, ...], order: str) -> _PickledArray:
    result = _PickledArray()
    result.array = _array_from_bytes(raw, dtype, shape, order)
    return result


def _number_from_bytes(dtype: Any, raw: Any) -> Any:
    return _array_from_bytes(raw, dtype, (), "C").item()


# All that a .pkl file may name; NumPy 2 renamed `core` to `_core`.
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _to_bytes,
    ("__builtin__", "bytes"): _empty_bytes,
    ("builtins", "bytes"): _empty_bytes,
    ("numpy", "dtype"): _PickledDtype,
    ("numpy", "ndarray"): _PickledArray,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _PickledArray
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _number_from_bytes
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _array_from_buffer


class _ArrayUnpickler(pickle._Unpickler):
    """Builds plain containers, text, numbers and numeric arrays; refuses everything else.

    It derives from the unpickler in Python: the one in C lets a file of ten bytes claim gigabytes,
    and is no faster, since an array is read as a whole.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not plain data")
        return _ALLOWED[module, name]


def _replace_stand_ins(value: Any, known: dict[int, Any]) -> Any:
    """Containers with every stand-in replaced by its array; anything not plain is refused.

    What stands in several places is built once, or nested repetitions would grow without bounds;
    `known` has the results by the originals' ids.
    """
    if value is None or isinstance(value, (str, bytes, bool, int, float, complex)):
        return value
    if isinstance(value, _PickledArray):
        return value.array
    if id(value) not in known:
        known[id(value)] = _rebuild(value, known)
    return known[id(value)]


def _rebuild(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        return type(value)((k, _replace_stand_ins(v, known)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(_replace_stand_ins(v, known) for v in value)
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, which is not plain data")


def _load_pickle(path: str) -> Any:
    with open(path, "rb") as file:
        # latin1: strings written by Python 2 hold bytes
        return _replace_stand_ins(_ArrayUnpickler(file, encoding="latin1").load(), {})


def _load_torch(path: str) -> Any:
    if _head(path).startswith(_ZIP):
        check_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _map_torch(path: str) -> Any:
    check_archive(path, with_tensors=False)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _choose_reader(path: str, memory_map: bool) -> Callable[[str], Any]:
    """Recognise the kind of file by its first bytes; names often lie."""
    if is_torch_file(path):
        return _map_torch if memory_map and _head(path).startswith(_ZIP) else _load_torch
    return load_safetensors if is_safetensors_file(path) else _load_pickle


def is_torch_file(path: str | os.PathLike[str]) -> bool:
    """True for a file that begins like those of `torch.save`."""
    head = _head(path)
    return head.startswith(_ZIP) or head == _LEGACY_TORCH


def is_safetensors_file(path: str | os.PathLike[str]) -> bool:
    """True for a file that begins like those of safetensors."""
    head = _head(path)
    header_length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and header_length < os.path.getsize(path)


def _head(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        return file.read(len(_LEGACY_TORCH))


def _reason(error: Exception) -> str:
    """Say what is wrong, in one line, without PyTorch's advice on how to load a file unsafely."""
    text = str(error).strip()
    if found := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it names {found[1]}, which is not plain data"
    if found := re.search(r"WeightsUnpickler error: (.+)", text):
        return found[1]
    return text.splitlines()[0] if text else type(error).__name__


def load_checkpoint_file(path: str | os.PathLike[str], memory_map: bool = False) -> dict[str, Any]:
    """Read a checkpoint from a local file; nothing in it is ever executed.

    Args:
        path: of a file that `torch.save` or safetensors wrote, or of a pickle of plain containers
            and NumPy arrays; told apart by content. Tensors come back on the CPU.
        memory_map: let PyTorch's tensors stay on the disk until they are used, where the file
            allows it; it may not be replaced meanwhile. Their checksums are not looked at.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds no dict, or holds more than plain data.
        MemoryError, RuntimeError: there is too little memory for it.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Checkpoint {path} does not exist: check MODEL.WEIGHTS.")
    try:
        check_is_data(path)
        loaded = _choose_reader(path, memory_map)(path)
    except Exception as error:  # a damaged pickle can raise almost anything
        # An archive's parts have checksums; a damaged file of another kind may claim any size.
        if _head(path).startswith(_ZIP) and describe_shortage(error):
            raise
        raise ValueError(
            f"Checkpoint {path} is damaged or holds more than tensors, arrays and plain values, and"
            f" was not loaded: {_reason(error)}"
        ) from error
    if not isinstance(loaded, dict):
        raise ValueError(f"Checkpoint {path} holds a {type(loaded).__name__}: it must hold a dict.")
    return loaded
