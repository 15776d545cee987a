"""Addresses of weights: which file they stand for, and what to do without a network."""

import io
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dyhead.safe_io import addresses
from dyhead.safe_io.addresses import fetch, local_path

WANTED = {
    "https://example.org/models/a.pth": "https+example.org/models/a.pth",
    "http://example.org:80/a.pth": "http+example.org%3A80/a.pth",
    "https://me:secret@example.org/a.pth?key=b/c#d": "https+example.org/a.pth?key=b%2Fc",
    "https://download.pytorch.org/models/a.pth": "models/a.pth",
    "detectron2://ImageNetPretrained/MSRA/R-50.pkl": "detectron2/ImageNetPretrained/MSRA/R-50.pkl",
    "hf://owner/repository/folder/a.safetensors": (
        "owner/repository/resolve/main/folder/a.safetensors"
    ),
    "timm://tf_efficientnet_lite0.in1k": (
        "timm/tf_efficientnet_lite0.in1k/resolve/main/model.safetensors"
    ),
    "tf_efficientnet_lite1": "timm/tf_efficientnet_lite1.in1k/resolve/main/model.safetensors",
    "torchvision://resnet50.IMAGENET1K_V1": "models/resnet50-0676ba61.pth",
    "swin_t": "models/swin_t-704ceda3.pth",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(urllib.request, "urlretrieve", no_network)
    return tmp_path


@pytest.mark.parametrize(("address", "wanted"), WANTED.items())
def test_without_network_the_place_for_a_copy_is_named(
    cache: Path, address: str, wanted: str
) -> None:
    with pytest.raises(FileNotFoundError, match="https?://.* cannot be downloaded") as error:
        local_path(address)
    assert f"put it at {cache / wanted}" in str(error.value)
    (cache / wanted).parent.mkdir(parents=True, exist_ok=True)
    (cache / wanted).write_bytes(b"weights")
    assert local_path(address) == str(cache / wanted)


@pytest.fixture
def web(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A web whose every file holds its own address; lists what was downloaded."""
    asked = []

    def urlretrieve(address: str, filename: str, **_: Any) -> tuple[str, None]:
        asked.append(address)
        Path(filename).write_text(address)
        return filename, None

    monkeypatch.setattr(urllib.request, "urlretrieve", urlretrieve)
    return asked


def test_no_address_gets_the_file_of_another_one(web: list[str]) -> None:
    wanted = [
        "https://a.example/models/resnet50-0676ba61.pth",
        "http://a.example/models/resnet50-0676ba61.pth",
        "https://a.example:8000/models/resnet50-0676ba61.pth",
        "https://b.example/models/resnet50-0676ba61.pth",
        "https://models/resnet50-0676ba61.pth",
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "https://a.example/models?file=one/resnet50-0676ba61.pth",
        "https://a.example/models?file=two/resnet50-0676ba61.pth",
        f"https://a.example/models?file={'x' * 300}1",
        f"https://a.example/models?file={'x' * 300}2",
    ]
    for _ in range(2):
        assert [Path(local_path(address)).read_text() for address in wanted] == wanted
    assert web == wanted  # each once


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/../../startup.py",
        "https://example.org/models/%2e%2E/startup.py",
        "https://example.org/models/..%2F..%2Fstartup.py",
        "https://example.org/models\\..\\..\\startup.py",
        "https://example.org/C:/startup.py",
        "detectron2://../../startup.py",
        "hf://owner/../../../startup.py",
        "https://example.org/folder/",
    ],
)
def test_an_address_that_could_leave_the_cache_is_refused(
    web: list[str], cache: Path, address: str
) -> None:
    with pytest.raises(ValueError, match="names no file"):
        local_path(address)
    assert not web and not list(cache.iterdir())


def test_paths_stay_as_they_are() -> None:
    assert local_path("weights/a.pth") == "weights/a.pth"


@pytest.mark.parametrize(
    ("address", "message"),
    [("ftp://a/b.pth", "unknown kind"), ("hf://owner/repository", "<owner>/<repository>/<file>")],
)
def test_bad_addresses_show_the_form(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        local_path(address)


class _Response(io.BytesIO):
    length = 0


@pytest.mark.parametrize(
    ("content", "missing", "message"),
    [(b"12345", 0, "larger than"), (b"123", 7, "ended 7 bytes early")],
)
def test_what_is_too_large_or_cut_off_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, content: bytes, missing: int, message: str
) -> None:
    response = _Response(content)
    response.length = missing
    timeouts = []
    monkeypatch.setattr(
        addresses, "urlopen", lambda _, timeout: timeouts.append(timeout) or response
    )
    with pytest.raises((OSError, ValueError), match=message):
        fetch("https://example.org/a.png", max_bytes=4)
    assert timeouts[0] > 0


def test_only_addresses_of_the_web_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    with pytest.raises(ValueError, match="no address of the web"):
        fetch((tmp_path / "secret").as_uri())
