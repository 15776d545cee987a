"""Registers annotations that a test made up."""

import json
import uuid
from pathlib import Path
from typing import Any

from dyhead.d2.data import DatasetCatalog
from dyhead.d2.data.datasets import register_coco_instances


def register_annotations(annotations: dict[str, Any], folder: Path) -> str:
    """Register annotations of COCO's format under a fresh name, and return it.

    The test needs `own_catalogs`, which takes them away again.
    """
    name = f"test_{uuid.uuid4().hex}"
    path = folder / f"{name}.json"
    path.write_text(json.dumps(annotations))
    register_coco_instances(name, {}, str(path), str(folder))
    DatasetCatalog.get(name)  # reads the categories into the metadata
    return name
