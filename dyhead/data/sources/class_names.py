"""Class names of data sets whose labels have them beside, or in every label."""

from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path

from dyhead.data.sources.source import named_categories
from dyhead.data.sources.text_files import read_lines
from dyhead.errors import UserError

CLASS_FILES = ("classes.txt", "obj.names", "labels.txt", "predefined_classes.txt")


def find_class_file(folder: Path) -> Path | None:
    """Return the list of class names in a folder, in its labels or in the folder above."""
    folders = (folder, folder / "labels", folder / "Annotations", folder.parent)
    return next(
        (path for each in folders for name in CLASS_FILES if (path := each / name).is_file()), None
    )


def read_class_file(path: Path) -> list[str]:
    """Read class names, one a line.

    Raises:
        UserError: there is none, or one stands there twice.
    """
    names = read_lines(path)
    while names and not names[-1]:
        names.pop()
    if not names or "" in names:
        raise UserError(f"{path} has an empty line, or no name at all: give one class name a line.")
    return refuse_repeated(names, path)


def refuse_repeated(names: list[str], path: Path) -> list[str]:
    """Return the names, none of which is there twice.

    Raises:
        UserError: one is.
    """
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        raise UserError(
            f"{path} names the class {repeated[0]!r} twice: make them one, or tell them apart."
        )
    return names


def categories_of(
    folder: Path, found: Iterable[str], without: Container[str] = ()
) -> dict[str | int, dict]:
    """Return COCO's categories by name, in the order of the folder's class file.

    Args:
        folder: the data set's.
        found: the names that labels have: they count, sorted, where there is no such file.
        without: names of either that are no classes.

    Raises:
        UserError: there are no names, or the file can't be used.
    """
    path = find_class_file(folder)
    listed = read_class_file(path) if path else sorted(set(found))
    names = [name for name in listed if name not in without]
    if not names:
        raise UserError(f"{folder} has no labels that name a class: label an object first.")
    return named_categories(names)
