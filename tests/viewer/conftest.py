"""A labelled data set, and a run's folder that was evaluated on it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from label_files import write_coco
from viewed_run import PREDICTIONS, Served


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "data")


@pytest.fixture
def run_folder(source: Path, tmp_path: Path, own_catalogs: None) -> Path:
    """A run whose only test set is `source`."""
    folder = tmp_path / "run"
    (folder / "inference").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        f"DATASETS:\n  TEST: [insects]\n  SOURCES: [[insects, '{source.as_posix()}']]\n"
    )
    results = folder / "inference" / "coco_instances_results.json"
    results.write_text(json.dumps(PREDICTIONS))
    return folder


@pytest.fixture
def served(run_folder: Path) -> Iterator[Served]:
    server = Served(run_folder)
    yield server
    server.close()
