import json

import numpy as np
import pytest
from PIL import Image

from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.data.datasets import register_coco_instances

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 90, "name": "bird"}]

# (width, height) and the annotations (category id, box as XYWH, crowd) of each image, by image id
IMAGES = {
    30: ((60, 40), [(7, [10.5, 5, 20, 30], 0), (90, [0, 0, 60, 40], 1)]),
    10: ((40, 60), [(2, [1, 2, 3.5, 4], 0), (7, [20, 10, 10, 40], 0)]),
    20: ((60, 40), []),
    40: ((60, 40), [(2, [0, 0, 60, 40], 1)]),
    50: ((60, 40), [(90, [30, 20, 10, 10.25], 0), (2, [5, 5, 0, 9], 0)]),
}


def save_image(path, size, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_coco(folder):
    """Images in `folder`, annotations with gaps in the ids and crowds in its instances.json."""
    images, annotations = [], []
    for image_id, (size, instances) in IMAGES.items():
        name = f"{image_id}.png"
        save_image(folder / name, size, image_id)
        images.append({"id": image_id, "file_name": name, "width": size[0], "height": size[1]})
        for category_id, box, is_crowd in instances:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": is_crowd,
                }
            )
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "instances.json").write_text(json.dumps(content))
    return content


@pytest.fixture
def unregister():
    """Forget every dataset that a test registers."""
    datasets, metadata = set(DatasetCatalog), set(MetadataCatalog)
    yield
    for name in set(DatasetCatalog) - datasets:
        DatasetCatalog.remove(name)
    for name in set(MetadataCatalog) - metadata:
        MetadataCatalog.remove(name)


@pytest.fixture
def coco(tmp_path, unregister):
    """The folder of a small dataset in COCO's format, registered as "tiny"."""
    write_coco(tmp_path)
    register_coco_instances("tiny", {}, str(tmp_path / "instances.json"), str(tmp_path))
    return tmp_path
