"""The C++ extension: the sources in this folder, compiled on first use by the system's compiler.

It needs no package beyond torch: one compiler command per source, one to link. The library is kept
in a cache, so only the first process ever waits for it; the folder is this user's alone, and what
another user may have put there is not loaded (`private_files.py`). Everything that can go wrong (no
compiler, a compiler too old, no place to write) ends in one log line and `load() == False`; the
callers then stay with plain PyTorch.

Environment:
    DYHEAD_CPP: 0 turns the extension off.
    DYHEAD_CACHE: folder of the compiled libraries, ~/.cache/dyhead unless set.
    CXX: the compiler to try first, before c++, g++ and clang++.
"""

import contextlib
import hashlib
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dyhead.ops.cpp.private_files import (
    is_private_file,
    make_private_folder,
    open_private_file,
    refuse_foreign_folder,
    write_private_file,
)

try:
    import fcntl
except ImportError:  # no POSIX, no compiler command as below either
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).parent
TORCH = Path(torch.__file__).parent
_ELSEWHERE = "the extension is built on Linux and macOS only"
_DEFINITION = re.compile(r'\blibrary\.def\(\s*"(\w+)')
COMPILE_TIMEOUT = 600  # seconds; a compiler takes about 20

_lock = threading.Lock()
_loaded: bool | None = None


class BuildError(Exception):
    """A build that failed: the reason in one line, and in `details` the words of the compiler."""

    def __init__(self, reason: str, details: str = ""):
        super().__init__(reason)
        self.details = details


def load() -> bool:
    """Make `torch.ops.dyhead.*` of the C++ sources available, building them if need be.

    The answer is found once per process. Never raises: without the extension it logs why.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _try_to_load()
        return _loaded


class State(NamedTuple):
    """The state of the extension, as it is seen without building or loading it."""

    library: Path  # where it is, or will be once it is built
    is_built: bool
    compiler: str  # what would build it, as a shell command, or ""
    reason: str  # why it is not used, or not to be had, or ""


def find_state() -> State:
    """Look for a built library, for the compiler, and for what stands in the way."""
    library = _library()
    try:
        compiler, openmp = find_compiler()
        command, reason = shlex.join([*compiler, *openmp]), ""
    except (BuildError, ValueError) as error:  # a CXX with an open quote
        command, reason = "", str(error)
    is_built = is_private_file(library)
    if is_built:
        reason = ""
    elif fcntl is None:
        reason = _ELSEWHERE
    elif not reason:
        try:
            if os.path.lexists(library.parent):
                refuse_foreign_folder(library.parent)
            _refuse_what_failed(library)
        except (BuildError, OSError) as error:
            reason = str(error)
    if os.environ.get("DYHEAD_CPP") == "0":
        reason = "the environment variable DYHEAD_CPP=0 turns it off"
    return State(library, is_built, command, reason)


def _try_to_load() -> bool:
    if os.environ.get("DYHEAD_CPP") == "0":
        logger.info("The C++ extension is turned off by DYHEAD_CPP=0.")
        return False
    try:
        _load_or_build(_library())
    except BuildError as error:
        logger.warning("No C++ extension, plain PyTorch is used instead: %s", error)
        logger.debug("%s", error.details)
        return False
    except OSError as error:
        logger.warning(
            "No C++ extension, plain PyTorch is used instead: %s."
            " DYHEAD_CACHE names another cache folder.",
            error,
        )
        return False
    except Exception as error:  # a home folder that cannot be named, a CXX with an open quote, ...
        logger.warning("No C++ extension, plain PyTorch is used instead: %s", error)
        return False
    return True


def cache_folder() -> Path:
    """Return the folder of compiled libraries."""
    chosen = os.environ.get("DYHEAD_CACHE")
    return Path(chosen).expanduser() if chosen else Path("~/.cache/dyhead").expanduser()


def _library() -> Path:
    return cache_folder() / f"{_fingerprint()}.so"


def _load_or_build(library: Path) -> None:
    if _loads(library):
        return
    if fcntl is None:
        raise BuildError(_ELSEWHERE)
    make_private_folder(library.parent)
    with _only_one_process(library.with_suffix(".lock")):
        if _loads(library):  # another process has built it meanwhile
            return
        _refuse_what_failed(library)
        compiler, openmp = find_compiler()  # that none serves is quickly seen: it is not noted
        start = time.monotonic()
        logger.info("Building the C++ extension, once for this machine: about half a minute")
        try:
            _build(library, compiler, openmp)
        except BuildError as error:
            write_private_file(_failure(library), f"{os.environ.get('CXX', '')}\n{error}")
            raise
    seconds = time.monotonic() - start
    name = " ".join(compiler)
    logger.info("Built the C++ extension with %s in %.0f s: %s", name, seconds, library)


def _failure(library: Path) -> Path:
    """Name the file that notes a failed build, so that not every process tries again."""
    return library.with_suffix(".failed")


def _refuse_what_failed(library: Path) -> None:
    if _failure(library).is_file():
        tried, _, reason = _failure(library).read_text("utf-8").partition("\n")
        if tried == os.environ.get("CXX", ""):
            raise BuildError(f"{reason} (delete {_failure(library)} to try again)")


def _loads(library: Path) -> bool:
    """Tell if `library` is there, this user's and sound. Else it is as good as none, and rebuilt.

    Raises:
        OSError: its folder is a link or another user's.
    """
    if not os.path.lexists(library):
        return False
    refuse_foreign_folder(library.parent)
    if not is_private_file(library):
        logger.debug("%s may have been written by others, it is not loaded", library)
        return False
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        logger.debug("%s does not load: %s", library, error)
        return False
    missing = [name for name in _operators() if not hasattr(torch.ops.dyhead, name)]
    if missing:
        logger.debug("%s lacks the operators %s", library, ", ".join(missing))
    return not missing


def _operators() -> list[str]:
    """List the names of the operators that the sources register."""
    sources = (file.read_text("utf-8") for file in sorted(SOURCES.glob("*.cpp")))
    return [name for text in sources for name in _DEFINITION.findall(text)]


@contextlib.contextmanager
def _only_one_process(lock: Path) -> Iterator[None]:
    with open(open_private_file(lock, os.O_RDWR), "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system lets go of it even if this process dies
        yield


def _fingerprint() -> str:
    """Name everything that the compiled code depends on, without asking a compiler."""
    digest = hashlib.sha256()
    for file in (Path(__file__), *sorted(SOURCES.glob("*.h")), *sorted(SOURCES.glob("*.cpp"))):
        digest.update(f"{file.name}\n".encode() + file.read_bytes())
    system = platform.system(), platform.machine(), platform.libc_ver(), _processor_features()
    digest.update(repr((torch.__version__, torch.compiled_with_cxx11_abi(), system)).encode())
    return digest.hexdigest()[:20]


def _processor_features() -> str:
    """Return the line of /proc/cpuinfo that -march=native depends on."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line for line in lines if line.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        return platform.processor()


def _build(library: Path, compiler: list[str], openmp: list[str]) -> None:
    """Compile, link, load, and move into place.

    The finished file is moved to its name in one step, so that nobody ever loads half a library.
    It is loaded before: a process that has loaded a bad one of that name would get it once more.
    """
    flags = [*_compile_flags(compiler), *openmp]
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        sources = sorted(SOURCES.glob("*.cpp"))
        objects = [str(Path(folder, f"{source.stem}.o")) for source in sources]
        _run(
            [
                [*compiler, *flags, "-c", str(s), "-o", o]
                for s, o in zip(sources, objects, strict=True)
            ],
            library.with_suffix(".log"),
        )
        linked = Path(folder, "library.so")
        _run(
            [[*compiler, *objects, "-o", str(linked), *_link_flags()]], library.with_suffix(".log")
        )
        linked.chmod(0o700)  # the linker has asked the umask, which may let a group write
        if not _loads(linked):
            raise BuildError("the library just built does not load, or lacks its operators")
        os.replace(linked, library)


def find_compiler() -> tuple[list[str], list[str]]:
    """Find a compiler that has OpenMP, and its flags: on one thread plain PyTorch is faster.

    Raises:
        BuildError: there is none.
    """
    candidates = map(shlex.split, (os.environ.get("CXX", ""), "c++", "g++", "clang++"))
    found = [command for command in candidates if command and shutil.which(command[0])]
    for compiler in found:
        for flags in (["-fopenmp"], ["-Xclang", "-fopenmp"]):  # the latter is how Apple's wants it
            if _accepts(compiler, flags, "#include <omp.h>\n"):
                return compiler, flags
    if not found:
        raise BuildError("no C++ compiler found (tried CXX, c++, g++ and clang++)")
    raise BuildError(
        f"{shlex.join(found[0])} finds no OpenMP (omp.h), without which the extension would use one"
        ' thread; on macOS: brew install libomp, then CXX="c++ -I$(brew --prefix libomp)/include"'
    )


def _compile_flags(compiler: list[str]) -> list[str]:
    flags = ["-O3", "-fPIC", "-DNDEBUG", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi"]
    # The first of each row that the compiler knows: old ones lack C++20.
    for row in (["-std=c++20", "-std=c++17"], ["-march=native", "-mcpu=native"]):
        flags += next(([flag] for flag in row if _accepts(compiler, [flag])), [])
    abi = int(torch.compiled_with_cxx11_abi())
    abi_flag = f"-D_GLIBCXX_USE_CXX11_ABI={abi}"
    return [*flags, abi_flag, f"-isystem{TORCH / 'include'}"]


def _accepts(compiler: list[str], flags: list[str], source: str = "") -> bool:
    command = [*compiler, *flags, "-fsyntax-only", "-x", "c++", "-"]
    return subprocess.run(command, capture_output=True, input=source.encode()).returncode == 0


def _link_flags() -> list[str]:
    libraries = TORCH / "lib"
    # The OpenMP runtime that torch has loaded already: a second one would mean a second pool of
    # threads that fights with torch's, and ignores torch.set_num_threads.
    folders = (libraries, TORCH.parent / "torch.libs")
    bundled = sorted(str(path) for folder in folders for path in folder.glob("libgomp*.so*"))
    openmp = bundled[:1] or (["-fopenmp"] if platform.system() == "Linux" else [])
    undefined = ["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else []
    torch_libraries = [f"-L{libraries}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{libraries}"]
    return ["-shared", *undefined, *torch_libraries, *openmp]


def _run(commands: list[list[str]], log: Path) -> None:
    """Run the commands side by side; if one fails, keep what it said in `log`."""
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "errors": "replace"}
    processes = [subprocess.Popen(command, **pipes) for command in commands]
    try:
        said = [process.communicate(timeout=COMPILE_TIMEOUT)[0] for process in processes]
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"the compiler took more than {COMPILE_TIMEOUT} s") from error
    finally:
        for process in processes:
            process.kill()
    failed = [i for i, process in enumerate(processes) if process.returncode]
    if failed:
        details = "\n".join(f"{shlex.join(commands[i])}\n{said[i]}" for i in failed)
        write_private_file(log, details)
        raise BuildError(f"the compiler failed, see {log}", details)
