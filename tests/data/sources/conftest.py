"""Helpers to compare what was read."""

from pathlib import Path
from typing import Any

import pytest

from dyhead.data.sources import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of a name that says nothing."""
    path = tmp_path / "given"
    path.mkdir()
    return path


@pytest.fixture
def objects_of() -> Any:
    """Return the objects of a source by file name: class and XYWH, rounded to 1e-4 pixels."""

    def read(source: Source) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
        names = {c["id"]: c["name"] for c in source.content["categories"]}
        files = {image["id"]: Path(image["file_name"]).name for image in source.content["images"]}
        found: dict[str, list] = {name: [] for name in files.values()}
        for annotation in source.content["annotations"]:
            box = tuple(round(value, 4) for value in annotation["bbox"])
            found[files[annotation["image_id"]]].append((names[annotation["category_id"]], box))
        return found

    return read
