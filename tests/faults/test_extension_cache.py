"""Nothing that other users put into the folder of compiled code is loaded, or harmed."""

import importlib.util
import logging
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from shown_faults import ShownFault

from dyhead.ops.cpp import extension as the_extension

STRANGER = 12345
OPERATOR = """
#include <torch/library.h>
TORCH_LIBRARY_FRAGMENT(dyhead, library) {
  library.def("only_for_a_test(int a) -> int", [](int64_t a) { return a; });
}
"""
HOSTILE = """
#include <cstdio>
__attribute__((constructor)) static void run() {{ if (FILE* f = fopen("{}", "w")) fclose(f); }}
"""

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here"),
    pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler"),
]
needs_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files to others"
)


class Start:
    """Loads the extension as a process that has just started would."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.cache, self.sources = folder / "cache", folder / "cpp"
        self.caplog = caplog
        self.sources.mkdir()
        (self.sources / "small.cpp").write_text('extern "C" int answer() { return 42; }\n')

    def module(self):
        spec = importlib.util.spec_from_file_location("fresh_extension", the_extension.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.SOURCES = self.sources
        return module

    def library(self) -> Path:
        return self.module()._library()

    def __call__(self) -> tuple[bool, list[str]]:
        self.caplog.clear()
        with self.caplog.at_level(logging.INFO, "fresh_extension"):
            loaded = self.module().load()
        return loaded, [line for line in self.caplog.messages if not line.startswith("Building")]


@pytest.fixture
def start(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DYHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DYHEAD_CPP", raising=False)
    return Start(tmp_path, caplog)


def compile_hostile(path: Path, mark: Path) -> None:
    """Make a library that leaves a mark when it is loaded."""
    source = path.with_suffix(".cc")
    source.write_text(HOSTILE.format(mark))
    subprocess.run(["c++", "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    source.unlink()


@pytest.mark.fault("compiled code in a cache that the umask opens to others")
def test_the_folder_and_the_library_are_closed_to_others(start, fault: ShownFault):
    before = os.umask(0o002)  # many systems' own: members of the group may write
    try:
        with fault.clear():
            loaded, (line,) = start()
            assert loaded and line.startswith("Built")
    finally:
        os.umask(before)
    with fault.survived():
        assert stat.S_IMODE(start.cache.stat().st_mode) == 0o700
        assert not start.library().stat().st_mode & 0o022
    with fault.nothing_lost():
        assert start() == (True, [])  # it is loaded again, not built


@pytest.mark.fault("another user's library in the cache of compiled code")
@needs_root
def test_a_library_of_another_user_is_not_run_but_replaced(start, tmp_path, fault: ShownFault):
    mark = tmp_path / "run"
    start.cache.mkdir(mode=0o777)
    compile_hostile(start.library(), mark)
    os.chown(start.library(), STRANGER, STRANGER)
    loaded, (line,) = start()
    with fault.clear():
        assert line.startswith("Built")
    with fault.survived():
        assert loaded and not mark.exists()
    with fault.nothing_lost():
        assert start.library().stat().st_uid == os.getuid() and start() == (True, [])


@pytest.mark.fault("a library in the cache that others may write")
def test_a_library_that_others_could_write_is_not_run_but_replaced(
    start, tmp_path, fault: ShownFault
):
    mark = tmp_path / "run"
    start.cache.mkdir()
    compile_hostile(start.library(), mark)
    start.library().chmod(0o666)
    loaded, (line,) = start()
    with fault.clear():
        assert line.startswith("Built")
    with fault.survived():
        assert loaded and not mark.exists()
    with fault.nothing_lost():
        assert start() == (True, []) and not mark.exists()


@pytest.mark.fault("a link in the place of the library")
def test_a_library_behind_a_link_is_not_run_and_not_overwritten(start, tmp_path, fault: ShownFault):
    mark, elsewhere = tmp_path / "run", tmp_path / "elsewhere.so"
    start.cache.mkdir()
    compile_hostile(elsewhere, mark)
    content = elsewhere.read_bytes()
    start.library().symlink_to(elsewhere)
    loaded, (line,) = start()
    with fault.clear():
        assert line.startswith("Built")
    with fault.survived():
        assert loaded and not mark.exists() and not start.library().is_symlink()
    with fault.nothing_lost():
        assert elsewhere.read_bytes() == content


@pytest.mark.fault("a cache that is another user's folder")
@needs_root
def test_a_folder_of_another_user_is_left_alone_with_one_line(start, tmp_path, fault: ShownFault):
    mark = tmp_path / "run"
    start.cache.mkdir()
    compile_hostile(start.library(), mark)
    content = start.library().read_bytes()
    os.chown(start.cache, STRANGER, STRANGER)
    loaded, (line,) = start()
    with fault.survived():
        assert not loaded and not mark.exists()
    with fault.clear():
        assert "plain PyTorch" in line and "belongs to another user" in line
        assert "DYHEAD_CACHE" in line
    with fault.nothing_lost():
        assert start.library().read_bytes() == content


@pytest.mark.fault("a cache that is a link to another folder")
def test_a_folder_that_is_a_link_is_left_alone_with_one_line(start, tmp_path, fault: ShownFault):
    (tmp_path / "real").mkdir()
    start.cache.symlink_to(tmp_path / "real")
    loaded, (line,) = start()
    with fault.clear():
        assert "is a link" in line and "plain PyTorch" in line
    with fault.survived():
        assert not loaded
    with fault.nothing_lost():
        assert not list((tmp_path / "real").iterdir())


@pytest.mark.fault("links in the place of the cache's lock, log and notes")
@pytest.mark.parametrize("ending", [".lock", ".failed", ".log"])
def test_a_link_in_the_place_of_a_file_of_the_cache_harms_no_other_file(
    start, tmp_path, ending, fault: ShownFault
):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (start.sources / "small.cpp").write_text("this is no C++")
    start.cache.mkdir()
    start.library().with_suffix(ending).symlink_to(precious)
    with fault.clear():
        loaded, (line,) = start()
        assert "plain PyTorch" in line
    with fault.survived():
        assert not loaded
    with fault.nothing_lost():
        assert precious.read_text() == "precious"


@pytest.mark.fault("a library in the cache without the operators")
def test_a_sound_library_without_its_operators_is_built_again(start, fault: ShownFault):
    (start.sources / "small.cpp").write_text(OPERATOR)
    start.cache.mkdir()
    other = start.cache / "other.cc"
    other.write_text('extern "C" int answer() { return 41; }\n')
    subprocess.run(["c++", "-shared", "-fPIC", str(other), "-o", str(start.library())], check=True)
    start.library().chmod(0o700)
    loaded, (line,) = start()
    with fault.clear():
        assert line.startswith("Built")
    with fault.survived():
        assert loaded
    with fault.nothing_lost():
        assert start() == (True, [])  # its operators are there
