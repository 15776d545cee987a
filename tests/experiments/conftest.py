import json
from pathlib import Path

import pytest
import study
from fake_study import TRAIN_NET
from PIL import Image


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A data set: three pictures of 64 x 48 with two boxes each; one more has no area."""
    folder = tmp_path / "cells"
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for index in range(3):
        Image.new("RGB", (64, 48), (40 * index, 0, 90)).save(folder / "images" / f"{index}.png")
        images.append({"id": 10 + index, "file_name": f"{index}.png", "width": 64, "height": 48})
        for category, box in ((7, [4, 5, 20, 30]), (3, [30 + index, 8, 16, 16])):
            annotations.append({"image_id": 10 + index, "category_id": category, "bbox": box})
    annotations.append({"image_id": 10, "category_id": 7, "bbox": [1, 1, 0, 9]})
    for number, annotation in enumerate(annotations, start=1):
        x, y, width, height = annotation["bbox"]
        annotation |= {"id": number, "area": width * height, "iscrowd": 0}
    categories = [{"id": 7, "name": "red"}, {"id": 3, "name": "blue"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    for part in ("train", "val"):
        (folder / f"{part}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def project(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a train_net.py that writes scores, and the data set cells."""
    (tmp_path / "train_net.py").write_text(TRAIN_NET)
    monkeypatch.setattr(study, "PROJECT", tmp_path)
    return tmp_path
