import urllib.error
import urllib.request

import pytest

from dyhead.d2 import HOST
from dyhead.d2.utils.file_io import PathManager

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, and no network."""

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(urllib.request, "urlretrieve", no_network)
    return tmp_path


def test_local_paths_are_plain_files(tmp_path):
    path = str(tmp_path / "a" / "b.txt")
    PathManager.mkdirs(str(tmp_path / "a"))
    with PathManager.open(path, "w") as file:
        file.write("hello")
    assert PathManager.isfile(path)
    assert PathManager.get_local_path(path) == path
    assert PathManager.ls(str(tmp_path / "a")) == ["b.txt"]


def test_what_is_in_the_cache_needs_no_network(cache):
    (cache / "detectron2" / "folder").mkdir(parents=True)
    (cache / "detectron2" / "folder" / "cached.pkl").write_bytes(b"weights")
    with PathManager.open("detectron2://folder/cached.pkl", "rb") as file:
        assert file.read() == b"weights"


@embedded_only
def test_files_of_a_server_are_in_its_folder_of_the_cache(cache):
    page = cache / "https+example.invalid" / "page.txt"
    page.parent.mkdir()
    page.write_text("text")
    assert PathManager.get_local_path("https://example.invalid/page.txt") == str(page)


@embedded_only
@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("https://example.invalid/absent.pth", "https+example.invalid/absent.pth"),
        ("detectron2://MSRA/absent.pkl", "detectron2/MSRA/absent.pkl"),
    ],
)
def test_failed_download_says_where_to_put_the_file(cache, address, wanted):
    with pytest.raises(FileNotFoundError) as error:
        PathManager.get_local_path(address)
    assert str(cache / wanted) in str(error.value)
    # and a file that is put there is found
    (cache / wanted).write_bytes(b"weights")
    assert PathManager.get_local_path(address) == str(cache / wanted)
