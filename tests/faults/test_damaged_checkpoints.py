"""Files that are not what they should be are refused in one sentence, and nothing is loaded."""

import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.model_card import read_card
from dyhead.safe_io import archive
from dyhead.safe_io.load import load_checkpoint_file


def write(path: Path) -> dict[str, Any]:
    """A checkpoint as a training leaves it, of 10 kB."""
    model = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 20)).sum().backward()
    optimizer.step()
    content = {"model": model.state_dict(), "trainer": {"optimizer": optimizer.state_dict()}}
    torch.save(content, path)
    return content


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


def refuses_or_loads_the_same(path: Path, content: dict[str, Any]) -> bool:
    """True if a changed file is refused; one in which only padding changed may load as before."""
    try:
        loaded = load_checkpoint_file(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return True
    assert same(loaded, content)
    return False


@pytest.mark.parametrize("number", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_flipped_bytes_never_load_as_something_else(tmp_path: Path, number: int) -> None:
    content = write(tmp_path / "good.pth")
    whole = (tmp_path / "good.pth").read_bytes()
    chance, path = random.Random(0), tmp_path / "flipped.pth"
    refused = 0
    for _ in range(number):
        spoilt = bytearray(whole)
        for place in chance.sample(range(len(whole)), chance.choice([1, 2, 8])):
            spoilt[place] ^= 1 << chance.randrange(8)
        path.write_bytes(spoilt)
        refused += refuses_or_loads_the_same(path, content)
    assert refused > number / 2


@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_file_that_was_cut_off_says_so(tmp_path: Path, number: int) -> None:
    write(tmp_path / "good.pth")
    whole = (tmp_path / "good.pth").read_bytes()
    chance, path = random.Random(1), tmp_path / "cut.pth"
    for _ in range(number):
        length = chance.randrange(20, len(whole) - 1)
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"cut.pth .*cut off at {length} bytes: copy or"):
            load_checkpoint_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n <!DOCTYPE html><html><body>Sign in</body></html>", "it is a web page"),
        (b"<html lang='en'>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "`git lfs pull`"),
    ],
)
@pytest.mark.parametrize("name", ["model.pth", "model.pkl", "model.safetensors"])
def test_what_stands_in_the_place_of_a_file_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} .*{message}"):
        load_checkpoint_file(tmp_path / name)


def test_an_archive_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("bomb/data/0", bytes(2**24))
    monkeypatch.setattr(archive, "_MAX_INFLATED", 2**23)
    assert path.stat().st_size < 2**16
    for read in (load_checkpoint_file, read_card):
        with pytest.raises(ValueError, match=r"bomb.pth .*would take 0.0 GiB"):
            read(path)


def test_reading_a_card_looks_at_the_description_and_leaves_the_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"model": {"w": torch.zeros(10_000)}, "dyhead": {"config": "A: 1"}}, path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as parts:
        place = {m.filename.split("/", 1)[1]: m.header_offset + 200 for m in parts.infolist()}
    for part, message in (("data/0", ""), ("data.pkl", "has changed|have changed|cut off|damaged")):
        spoilt = bytearray(content)
        spoilt[place[part]] ^= 1
        path.write_bytes(spoilt)
        if message:
            with pytest.raises(ValueError, match=message):
                read_card(path)
        else:
            card = read_card(path)
            assert card is not None and card.config == "A: 1"


def test_a_tag_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere.pth")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last_checkpoint").write_text(f"..{os.sep}elsewhere.pth")
    with pytest.raises(ValueError, match="last_checkpoint names '../elsewhere.pth'"):
        SafeCheckpointer(nn.Linear(2, 2), str(tmp_path / "run")).resume_or_load("", resume=True)


def test_the_state_is_untouched_by_a_refused_resume(tmp_path: Path) -> None:
    SafeCheckpointer(nn.Linear(2, 4), str(tmp_path)).save("model")
    model = nn.Linear(2, 3)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"model.pth cannot be resumed from: its weight weight"):
        SafeCheckpointer(model, str(tmp_path)).resume_or_load("", resume=True)
    assert same(dict(model.state_dict()), before)
