"""Both hosts give the same records, the same pixels and the same boxes, bit for bit where bytes."""

import importlib.util
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

if importlib.util.find_spec("detectron2") is None:
    pytest.skip("genuine Detectron2 cannot be imported here", allow_module_level=True)

import detectron2.data as genuine
from detectron2.config import get_cfg as genuine_cfg
from detectron2.data import datasets as genuine_datasets
from detectron2.data import detection_utils as genuine_utils
from embedded_host import data as embedded
from embedded_host.config import get_cfg as embedded_cfg
from embedded_host.data import datasets as embedded_datasets
from embedded_host.data import detection_utils as embedded_utils

HOSTS = [
    (genuine, genuine_datasets, genuine_utils, genuine_cfg),
    (embedded, embedded_datasets, embedded_utils, embedded_cfg),
]


@pytest.fixture
def json_file(tmp_path):
    """COCO's format with gaps in the ids, crowds, masks and photographs in both orientations."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id in range(1, 11):
        width, height = (90, 60) if image_id % 3 else (60, 90)
        pixels = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        name = f"{image_id}.jpg"
        Image.fromarray(pixels).resize((width, height)).save(tmp_path / name)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for _ in range(image_id % 4):
            x, y, w, h = (rng.random(4) * [30, 30, 60, 60]).round(2).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.choice([3, 5, 20])),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.2),
                    "segmentation": [[x, y, x + w, y, x + w, y + h]],
                }
            )
    categories = [{"id": i, "name": f"class {i}"} for i in (20, 3, 5)]
    path = tmp_path / "instances.json"
    content = {"images": images[::-1], "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def registered(json_file):
    for _, datasets, *_ in HOSTS:
        datasets.register_coco_instances("both", {}, str(json_file), str(json_file.parent))
    yield "both"
    for data, *_ in HOSTS:
        data.DatasetCatalog.remove("both")
        data.MetadataCatalog.remove("both")


def assert_same(theirs, ours):
    assert theirs.keys() == ours.keys()
    for key, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, ours[key])
        elif key == "instances":
            assert value.image_size == ours[key].image_size
            assert set(value.get_fields()) == set(ours[key].get_fields())
            assert torch.equal(value.gt_classes, ours[key].gt_classes)
            torch.testing.assert_close(
                value.gt_boxes.tensor, ours[key].gt_boxes.tensor, atol=1e-4, rtol=1e-6
            )
        else:
            assert value == ours[key]


def test_records_and_metadata(registered):
    theirs, ours = (data.DatasetCatalog.get(registered) for data, *_ in HOSTS)
    assert theirs == ours
    theirs, ours = (data.MetadataCatalog.get(registered).as_dict() for data, *_ in HOSTS)
    assert theirs == ours


def test_builtin_coco():
    for name in genuine.DatasetCatalog.list():
        if name.startswith("coco_20") and "panoptic" not in name:
            assert name in embedded.DatasetCatalog
            theirs, ours = (data.MetadataCatalog.get(name).as_dict() for data, *_ in HOSTS)
            theirs.pop("thing_colors")
            assert theirs == ours


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L"])
def test_images(tmp_path, orientation, image_format):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[274] = orientation
    path = str(tmp_path / "image.jpg")
    image.save(path, exif=exif)
    theirs, ours = (utils.read_image(path, image_format) for _, _, utils, _ in HOSTS)
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(31, 47), (31, 47, 1), (31, 47, 3)])
@pytest.mark.parametrize("interp", [0, 2, 3])
def test_resized_images(dtype, shape, interp):
    image = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    for new_h, new_w in ((17, 60), (62, 23), (31, 47)):
        arguments = (31, 47, new_h, new_w, interp)
        theirs, ours = (
            data.transforms.ResizeTransform(*arguments).apply_image(image) for data, *_ in HOSTS
        )
        np.testing.assert_array_equal(theirs, ours)


def test_resized_shapes():
    rng = np.random.default_rng(0)
    for old_h, old_w, short, longest in rng.integers(20, 2000, (2000, 4)).tolist():
        theirs, ours = (
            data.transforms.ResizeShortestEdge.get_output_shape(old_h, old_w, short, longest)
            for data, *_ in HOSTS
        )
        assert theirs == ours


def batches(host, dataset, crop):
    data, _, _, get_cfg = host
    cfg = get_cfg()
    cfg.DATASETS.TRAIN, cfg.SOLVER.IMS_PER_BATCH = (dataset,), 2
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.DATALOADER.NUM_WORKERS, cfg.SEED = (40, 50, 70), 0, 5
    cfg.INPUT.CROP.ENABLED = crop is not None
    cfg.INPUT.CROP.TYPE = crop or cfg.INPUT.CROP.TYPE
    cfg.INPUT.CROP.SIZE = [30, 50] if crop and "absolute" in crop else [0.5, 0.7]
    np.random.seed(0)
    return list(itertools.islice(data.build_detection_train_loader(cfg), 20))


@pytest.mark.parametrize("crop", [None, "relative", "relative_range", "absolute", "absolute_range"])
def test_training_batches(registered, crop):
    theirs, ours = (batches(host, registered, crop) for host in HOSTS)
    for their_batch, our_batch in zip(theirs, ours, strict=True):
        for their_element, our_element in zip(their_batch, our_batch, strict=True):
            assert_same(their_element, our_element)


def evaluation_batches(host, dataset):
    data, _, _, get_cfg = host
    cfg = get_cfg()
    cfg.DATALOADER.NUM_WORKERS = 0
    return data.build_detection_test_loader(cfg, dataset)


def test_evaluation_batches(registered):
    loaders = [evaluation_batches(host, registered) for host in HOSTS]
    for (theirs,), (ours,) in zip(*loaders, strict=True):
        assert_same(theirs, ours)


def test_converted_json(registered, tmp_path):
    contents = []
    for data, datasets, *_ in HOSTS:
        path = tmp_path / f"{data.__name__}.json"
        datasets.convert_to_coco_json(registered, str(path))
        contents.append(json.loads(path.read_text()))
    theirs, ours = contents
    for key in ("images", "categories"):
        assert theirs[key] == ours[key]
    for their_instance, our_instance in zip(
        theirs["annotations"], ours["annotations"], strict=True
    ):
        assert their_instance.pop("area") == pytest.approx(our_instance.pop("area"), rel=1e-4)
        assert their_instance.pop("bbox") == pytest.approx(our_instance.pop("bbox"), abs=1e-3)
        assert their_instance == our_instance
