"""Files that are not what they should be are refused in one sentence, and nothing is loaded."""

import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from shown_faults import ShownFault
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


@pytest.mark.fault("a checkpoint with flipped bits")
@pytest.mark.parametrize("number", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_flipped_bytes_never_load_as_something_else(
    tmp_path: Path, number: int, fault: ShownFault
) -> None:
    content = write(tmp_path / "good.pth")
    whole = (tmp_path / "good.pth").read_bytes()
    chance, path = random.Random(0), tmp_path / "flipped.pth"
    refused = 0
    fault.tried(number)
    with fault.survived(), fault.clear():
        for _ in range(number):
            spoilt = bytearray(whole)
            for place in chance.sample(range(len(whole)), chance.choice([1, 2, 8])):
                spoilt[place] ^= 1 << chance.randrange(8)
            path.write_bytes(spoilt)
            refused += refuses_or_loads_the_same(path, content)
        assert refused > number / 2
    with fault.nothing_lost():
        assert path.read_bytes() == spoilt  # for whoever can repair it
        assert same(load_checkpoint_file(tmp_path / "good.pth"), content)


@pytest.mark.fault("a checkpoint that was cut off")
@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_file_that_was_cut_off_says_so(tmp_path: Path, number: int, fault: ShownFault) -> None:
    content = write(tmp_path / "good.pth")
    whole = (tmp_path / "good.pth").read_bytes()
    chance, path = random.Random(1), tmp_path / "cut.pth"
    fault.tried(number)
    with fault.survived(), fault.clear():
        for _ in range(number):
            length = chance.randrange(20, len(whole) - 1)
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=f"cut.pth .*cut off at {length} bytes: copy or"):
                load_checkpoint_file(path)
    with fault.nothing_lost():
        assert same(load_checkpoint_file(tmp_path / "good.pth"), content)


@pytest.mark.fault("an empty file, a web page or a git-lfs pointer as a checkpoint")
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
    tmp_path: Path, name: str, content: bytes, message: str, fault: ShownFault
) -> None:
    (tmp_path / name).write_bytes(content)
    refusal = pytest.raises(ValueError, match=f"{name} .*{message}")
    with fault.clear(), fault.survived(), refusal:
        load_checkpoint_file(tmp_path / name)
    with fault.nothing_lost():
        assert (tmp_path / name).read_bytes() == content


@pytest.mark.fault("an archive that would fill the memory as a checkpoint")
def test_an_archive_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: ShownFault
) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("bomb/data/0", bytes(2**24))
    monkeypatch.setattr(archive, "_MAX_INFLATED", 2**23)
    assert path.stat().st_size < 2**16
    with fault.clear(), fault.survived():
        for read in (load_checkpoint_file, read_card):
            with pytest.raises(ValueError, match=r"bomb.pth .*would take 0.0 GiB"):
                read(path)
    with fault.nothing_lost():
        assert zipfile.is_zipfile(path)


@pytest.mark.fault("a checkpoint with a damaged description")
def test_reading_a_card_looks_at_the_description_and_leaves_the_tensors(
    tmp_path: Path, fault: ShownFault
) -> None:
    path = tmp_path / "model.pth"
    torch.save({"model": {"w": torch.zeros(10_000)}, "dyhead": {"config": "A: 1"}}, path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as parts:
        place = {m.filename.split("/", 1)[1]: m.header_offset + 200 for m in parts.infolist()}

    def spoil(part: str) -> None:
        spoilt = bytearray(content)
        spoilt[place[part]] ^= 1
        path.write_bytes(spoilt)

    spoil("data.pkl")
    with fault.clear(), pytest.raises(ValueError, match="ha(s|ve) changed|cut off|damaged"):
        read_card(path)
    spoil("data/0")
    with fault.survived():
        card = read_card(path)
        assert card is not None and card.config == "A: 1"
    path.write_bytes(content)
    with fault.nothing_lost():
        assert load_checkpoint_file(path)["model"]["w"].sum() == 0


@pytest.mark.fault("a last_checkpoint that leads out of its folder")
def test_a_tag_that_leads_out_of_the_folder_is_refused(tmp_path: Path, fault: ShownFault) -> None:
    content = write(tmp_path / "elsewhere.pth")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last_checkpoint").write_text(f"..{os.sep}elsewhere.pth")
    model = nn.Linear(2, 2)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with fault.clear(), pytest.raises(ValueError, match="last_checkpoint names '../elsewhere.pth'"):
        SafeCheckpointer(model, str(tmp_path / "run")).resume_or_load("", resume=True)
    with fault.survived():
        assert same(dict(model.state_dict()), before)
    with fault.nothing_lost():
        assert same(load_checkpoint_file(tmp_path / "elsewhere.pth"), content)


@pytest.mark.fault("a resume of a model of another shape, in code")
def test_the_state_is_untouched_by_a_refused_resume(tmp_path: Path, fault: ShownFault) -> None:
    SafeCheckpointer(nn.Linear(2, 4), str(tmp_path)).save("model")
    model = nn.Linear(2, 3)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    message = r"model.pth cannot be resumed from: its weight weight"
    with fault.clear(), pytest.raises(ValueError, match=message):
        SafeCheckpointer(model, str(tmp_path)).resume_or_load("", resume=True)
    with fault.survived():
        assert same(dict(model.state_dict()), before)
    with fault.nothing_lost():
        assert load_checkpoint_file(tmp_path / "model.pth")["model"]["weight"].shape == (4, 2)
