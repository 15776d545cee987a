"""Count how a checkout of the project is laid out: `python tools/count_structure.py --source PATH`.

Everything is counted from the source text, but for the trace of a block, which runs in a process
of its own with the checkout on its path. Two checkouts are compared by running it on each.
"""

import argparse
import ast
import collections
import io
import itertools
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from check_docstrings import QUESTION, find_docstrings, find_files

PROJECT = Path(__file__).parents[1]
SMALL = 60  # lines; a shorter file seldom holds an idea of its own
PRIVATE = re.compile("_[a-zA-Z][a-zA-Z0-9_]*")
LAYOUT_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}

# The second call of a block on a pyramid of three levels: the first one builds and chooses.
TRACE = """
import sys, torch
from dyhead.layers import DyHeadBlock
from dyhead.ops import set_default_backend

set_default_backend("cpp")
torch.manual_seed(0)
block = DyHeadBlock(32, 32).eval()
levels = [torch.rand(1, 32, size, size) for size in (16, 8, 4)]
files, moves, deepest, open_files, stack = set(), 0, 0, [], []

def profile(frame, event, argument):
    global moves, deepest
    name = frame.f_code.co_filename
    if event not in ("call", "return") or not name.startswith(sys.argv[1]):
        return
    if event == "return":
        if stack:
            stack.pop()
        return
    moves += bool(stack) and stack[-1] != name
    stack.append(name)
    files.add(name)
    deepest = max(deepest, len(stack))

with torch.no_grad():
    block(levels)
    sys.setprofile(profile)
    block(levels)
    sys.setprofile(None)
print(len(files), moves, deepest)
"""


def count_lines(paths: Iterable[Path]) -> int:
    """Add up the lines of files."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def count_questions(paths: Iterable[Path]) -> tuple[int, int]:
    """Count docstrings whose first word asks, and all docstrings."""
    texts = [docstring.text for path in paths for docstring in find_docstrings(path)]
    return sum(bool(QUESTION.match(text)) for text in texts), len(texts)


def count_comments(paths: Iterable[Path]) -> tuple[int, int, int]:
    """Count lines that are a comment, comments behind code, and lines of code.

    Lines of code are neither blank nor comment nor docstring.
    """
    comments = behind = code = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        spans = [range(found.line, found.end + 1) for found in find_docstrings(path)]
        docstrings = set(itertools.chain.from_iterable(spans))
        written: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                alone = token.line.strip().startswith("#")
                comments, behind = comments + alone, behind + (not alone)
            if token.type not in LAYOUT_TOKENS:
                written |= set(range(token.start[0], token.end[0] + 1))
        code += len(written - docstrings)
    return comments, behind, code


def find_imports(path: Path, package: Path) -> set[Path]:
    """List the modules of a package that a file imports, within functions too.

    A sub-package stands for its `__init__.py`, from which names are imported.
    """
    root = package.parents[len(_dotted(package).split(".")) - 1]

    def find_module(name: str) -> Path | None:
        place = root.joinpath(*name.split("."))
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        return module if module.is_file() and package in module.parents else None

    found: set[Path | None] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {find_module(name) or find_module(node.module) for name in names}
        elif isinstance(node, ast.Import):
            found |= {find_module(alias.name) for alias in node.names}
    return {module for module in found if module is not None and module != path}


def _dotted(package: Path) -> str:
    """Return the name by which a package is imported: as far up as there is an __init__.py."""
    parts = [package.name]
    while (package.parent / "__init__.py").is_file():
        package = package.parent
        parts.insert(0, package.name)
    return ".".join(parts)


def count_ties(package: Path, room: Callable[[Path], str]) -> tuple[int, int]:
    """Count the rooms of a package and the pairs of them of which one imports the other.

    Args:
        package: a folder.
        room: gives a file's room; "" leaves the file out.
    """
    files = [path for path in find_files(package) if room(path)]
    pairs = {(room(path), room(other)) for path in files for other in find_imports(path, package)}
    return len({room(path) for path in files}), sum(a != b and b != "" for a, b in pairs)


def count_ops(source: Path) -> Iterator[tuple[str, str]]:
    """Yield the rows on dyhead/ops.

    The imports of the package's own __init__.py count among those of modules; it is no room.
    """
    package = source / "dyhead" / "ops"
    modules, imports = count_ties(package, str)
    yield "dyhead/ops: modules, imports between them", f"{modules - 1}, {imports}"

    def room(path: Path) -> str:
        return path.relative_to(package).parts[0].replace("__init__.py", "")

    rooms, ties = count_ties(package, room)
    yield "dyhead/ops: rooms (modules and sub-packages), ties between them", f"{rooms}, {ties}"


def trace_block(source: Path) -> str:
    """Trace one block's forward call on the C++ back end.

    Returns:
        Files entered, calls that go from one file to another, and frames of the project on top of
        each other at most.
    """
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    environment.pop("DYHEAD_DEFORM_CONV", None)
    command = [sys.executable, "-c", TRACE, str(source / "dyhead")]
    done = subprocess.run(command, env=environment, cwd=source, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The block cannot be traced in {source}:\n{done.stderr}")
    return ", ".join(done.stdout.split()[-3:])


def count_host(source: Path) -> Iterator[tuple[str, str]]:
    """Yield the rows on the door to the host, and on the host itself.

    The door is what decides and forwards: beside an `_embedded` package everything else of
    `dyhead/d2`; without one the modules that lie in `dyhead/d2` itself, whose sub-packages then are
    the host. Modules `dyhead/d2_*.py` belong to it. `safe_io` belongs to neither.
    """
    d2 = source / "dyhead" / "d2"
    files = [path for path in find_files(d2) if d2 / "safe_io" not in path.parents]
    files += sorted((source / "dyhead").glob("d2_*.py"))
    if (d2 / "_embedded" / "__init__.py").is_file():
        door = [path for path in files if d2 / "_embedded" not in path.parents]
    else:
        door = [path for path in files if path.parent in (d2, d2.parent)]
    yield "the door to the host: lines", f"{count_lines(door):,}"
    yield "host and door: lines", f"{count_lines(files):,}"
    rest = [path for path in find_files(source / "dyhead") if path not in files]
    twice = find_names(files) & find_names(rest)
    yield (
        "public names that host and project both define",
        f"{len(twice)}: {', '.join(sorted(twice))}",
    )


def find_names(paths: Iterable[Path]) -> set[str]:
    """List the public classes and functions that files define."""
    names = set()
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_":
                names.add(node.name)
    return names


def count_small_files(source: Path) -> str:
    """Count the short files outside the host, without __init__.py, and their lines."""
    host = source / "dyhead" / "d2"
    files = [path for path in find_files(source / "dyhead") if host not in path.parents]
    small = [path for path in files if path.name != "__init__.py" and count_lines([path]) <= SMALL]
    return f"{len(small)}, {count_lines(small):,}"


def count_private_uses(paths: Iterable[Path]) -> int:
    """Count the places where tests use private names: attributes, imports, names to be patched."""
    nodes = (
        node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
    return sum(len(list(filter(PRIVATE.fullmatch, _used_names(node)))) for node in nodes)


def _used_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute):
        is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        return [] if is_own else [node.attr]
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dyhead"):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value.rpartition(".")[2]] if node.value.startswith("dyhead.") else []
    return []


def find_packages(source: Path) -> dict[str, list[Path]]:
    """Group the files of the checkout: by package of dyhead, then by folder beside it."""
    groups = collections.defaultdict(list)
    for path in find_files(source / "dyhead"):
        parts = path.relative_to(source).parts
        groups["/".join(parts[:2]) if len(parts) > 2 else "dyhead/*.py"].append(path)
    for name in ("benchmarks", "experiments", "tools", "tests"):
        groups[name] = find_files(source / name)
    return groups


def print_table(source: Path) -> None:
    """Print every row."""
    rows = [
        *count_ops(source),
        ("a block's forward call: files, moves between files, depth", trace_block(source)),
        *count_host(source),
        ("uses of private names in tests", str(count_private_uses(find_files(source / "tests")))),
        (f"files outside the host under {SMALL + 1} lines, their lines", count_small_files(source)),
    ]
    for name, value in rows:
        print(f"{name:66} {value}")
    names = ("package", "files", "lines", "questions", "comments", "with those behind code")
    print("\n{:24} {:>6} {:>7} {:>12} {:>9} {:>23}".format(*names))
    packages = find_packages(source)
    packages["dyhead"] = find_files(source / "dyhead")
    for name, paths in packages.items():
        asked, docstrings = count_questions(paths)
        alone, behind, code = count_comments(paths)
        share = f"{asked} ({100 * asked / max(1, docstrings):.1f}%)"
        per_100 = f"{100 * alone / max(1, code):9.1f} {100 * (alone + behind) / max(1, code):23.1f}"
        print(f"{name:24} {len(paths):6} {count_lines(paths):7,} {share:>12} {per_100}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=PROJECT, help="a checkout; by default this")
    print_table(parser.parse_args().source.resolve())
