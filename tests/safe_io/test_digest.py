"""Own safetensors files are compared with their digest, others are taken as they are."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dyhead.safe_io.digest import load_safetensors, to_safetensors
from dyhead.safe_io.load import load_checkpoint_file

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.int64)}


def test_weights_and_metadata_come_back(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(to_safetensors(WEIGHTS, {"note": "kept"}))
    loaded = load_safetensors(str(path))
    assert all(torch.equal(loaded[name], weight) for name, weight in WEIGHTS.items())
    assert b'"note":"kept"' in path.read_bytes()


def test_every_changed_byte_of_tensors_names_and_shapes_is_noticed(tmp_path: Path) -> None:
    content = to_safetensors(WEIGHTS, {})
    end_of_metadata = content.index(b"}")
    path = tmp_path / "changed.safetensors"
    for place in range(end_of_metadata + 1, len(content)):
        if content[place : place + 1] == b" ":
            continue  # the padding of the header
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(ValueError, match="changed.safetensors is damaged"):
            load_checkpoint_file(path)


def test_a_file_without_a_digest_loads(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "others.safetensors")
    assert load_safetensors(str(tmp_path / "others.safetensors"))["b"].sum() == 4
