"""A small labelled folder, its check, and the host's catalogs as they were."""

from collections.abc import Callable
from pathlib import Path

import pytest
from planted_faults import LabelledFolder

from dyhead.data_report import CheckSettings, check_data
from dyhead.data_report.collect import DataReport


@pytest.fixture(autouse=True)
def forget_datasets(own_catalogs: None) -> None:
    """Leave the host's catalogs as they were, after every test."""


@pytest.fixture
def folder(tmp_path: Path) -> LabelledFolder:
    return LabelledFolder(tmp_path / "data", num_images=8)


@pytest.fixture
def check(folder: LabelledFolder) -> Callable[..., DataReport]:
    """Check the folder as it is then."""

    def run(**options: object) -> DataReport:
        paths = folder.write()
        images = [folder.train.images, folder.val.images]
        return check_data(CheckSettings(sources=paths, images=images, **options))  # type: ignore[arg-type]

    return run
