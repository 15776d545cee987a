"""The loader of the C++ extension: it builds once, for all processes, and never raises."""

import ctypes
import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from dyhead.ops.cpp import extension as the_extension

# A small source, so that a build takes a second.
SOURCE = """
#include <c10/util/BFloat16.h>
extern "C" int dyhead_answer() { return 42; }
"""
# Loads the module from its file: a process of its own needs nothing of it but torch.
PROGRAM = """
import importlib.util, logging, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
spec = importlib.util.spec_from_file_location("extension", sys.argv[1])
extension = importlib.util.module_from_spec(spec)
spec.loader.exec_module(extension)
extension.SOURCES = Path(sys.argv[2])
print("loaded", extension.load())
"""

needs_compiler = pytest.mark.skipif(
    not any(
        map(shutil.which, ((os.environ.get("CXX") or "c++").split()[0], "c++", "g++", "clang++"))
    ),
    reason="there is no C++ compiler",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DYHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DYHEAD_CPP", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def sources(tmp_path, cache):
    folder = tmp_path / "cpp"
    folder.mkdir()
    (folder / "small.cpp").write_text(SOURCE)
    return folder


@pytest.fixture
def start(sources, caplog):
    """Load as a process that just started would; return the answer and the log lines."""

    def start():
        spec = importlib.util.spec_from_file_location("fresh_extension", the_extension.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.SOURCES = sources
        caplog.clear()
        with caplog.at_level(logging.INFO, "fresh_extension"):
            loaded = module.load()
            assert module.load() is loaded  # asked once more, it neither builds nor logs again
        return loaded, [line for line in caplog.messages if not line.startswith("Building")]

    return start


def hide_compilers(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "/nonexistent")


@needs_compiler
def test_builds_once_and_loads_from_the_cache_without_a_compiler(start, cache, monkeypatch):
    loaded, (line,) = start()
    assert loaded
    assert line.startswith("Built the C++ extension with ")
    (library,) = cache.glob("*.so")
    assert ctypes.CDLL(str(library)).dyhead_answer() == 42
    hide_compilers(monkeypatch)
    assert start() == (True, [])


@needs_compiler
def test_processes_that_start_together_build_once(sources):
    command = [sys.executable, "-c", PROGRAM, the_extension.__file__, str(sources)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert sum(line.startswith("Built") for line in lines) == 1
    assert lines.count("loaded True") == 2


@needs_compiler
def test_a_damaged_library_is_built_again(start, cache, tmp_path, monkeypatch):
    start()
    (library,) = cache.glob("*.so")
    other = tmp_path / "other"  # a path from which nothing is loaded yet
    other.mkdir()
    (other / library.name).write_bytes(b"not a library")
    monkeypatch.setenv("DYHEAD_CACHE", str(other))
    loaded, (line,) = start()
    assert loaded
    assert line.startswith("Built")


@needs_compiler
def test_other_headers_make_another_library(start, cache, sources):
    start()
    (sources / "header.h").write_text("// changed")
    start()
    assert len(list(cache.glob("*.so"))) == 2


def test_without_a_compiler_one_line_says_so(start, monkeypatch):
    hide_compilers(monkeypatch)
    loaded, (line,) = start()
    assert not loaded
    assert line.startswith("No C++ extension, plain PyTorch is used instead: no C++ compiler found")


@needs_compiler
def test_a_compiler_that_comes_later_is_used(start, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        assert not start()[0]
    loaded, (line,) = start()
    assert loaded
    assert line.startswith("Built")


@pytest.fixture
def without_openmp(tmp_path, monkeypatch):
    """Put a compiler that lacks OpenMP first; return its path."""
    real = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if real is None:
        pytest.skip("there is no C++ compiler besides CXX")
    compiler = tmp_path / "compiler"
    compiler.write_text(f"""#!/bin/sh
for flag; do test "$flag" = -fopenmp && exit 1; done
exec {shlex.quote(real)} "$@"
""")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return compiler


def test_a_compiler_without_openmp_is_refused(start, cache, without_openmp):
    """On one thread the extension would be slower than plain PyTorch on all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        loaded, (line,) = start()
    assert not loaded
    assert f"{without_openmp} finds no OpenMP" in line
    assert not list(cache.glob("*.so")) and not list(cache.glob("*.failed"))


def test_the_next_compiler_is_asked_for_openmp(start, without_openmp):
    loaded, (line,) = start()
    assert loaded
    assert line.startswith("Built") and str(without_openmp) not in line


@needs_compiler
def test_what_the_compiler_said_is_kept_when_it_fails(start, cache, sources):
    (sources / "wrong.cpp").write_text("this is no C++")
    loaded, (line,) = start()
    (log,) = cache.glob("*.log")
    assert not loaded
    assert line.endswith(f"the compiler failed, see {log}")
    assert "wrong.cpp" in log.read_text()
    assert not list(cache.glob("*.so"))


@needs_compiler
def test_a_build_that_failed_is_not_tried_by_every_process(start, cache, sources):
    wrong = sources / "wrong.cpp"
    wrong.write_text("this is no C++")
    start()
    (failed,) = cache.glob("*.failed")
    (log,) = cache.glob("*.log")
    log.unlink()
    loaded, (line,) = start()
    assert not loaded
    assert not log.exists()  # no compiler ran
    assert line.endswith(f"(delete {failed} to try again)")
    failed.unlink()
    start()
    assert log.exists()


@pytest.mark.parametrize(("name", "value"), [("CXX", "'c++"), ("DYHEAD_CACHE", "~nobody-here/x")])
def test_odd_settings_end_with_one_line_too(start, cache, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    loaded, (line,) = start()
    assert not loaded
    assert line.startswith("No C++ extension, plain PyTorch is used instead: ")


def test_a_cache_that_cannot_be_written_is_named(start, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DYHEAD_CACHE", str(tmp_path / "file" / "cache"))
    loaded, (line,) = start()
    assert not loaded
    assert "DYHEAD_CACHE" in line


def test_can_be_turned_off(start, cache, monkeypatch):
    monkeypatch.setenv("DYHEAD_CPP", "0")
    loaded, (line,) = start()
    assert not loaded
    assert "DYHEAD_CPP=0" in line
    assert not cache.exists()
