import numpy as np
import pytest
import torch
from PIL import Image

from dyhead.d2 import HOST
from dyhead.d2.config import get_cfg
from dyhead.d2.data import transforms as T
from dyhead.d2.data.detection_utils import (
    SizeMismatchError,
    annotations_to_instances,
    build_augmentation,
    check_image_size,
    convert_image_to_rgb,
    filter_empty_instances,
    read_image,
    transform_instance_annotations,
)
from dyhead.d2.structures import Boxes, BoxMode, Instances

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)

# How a camera stores an upright image for each EXIF orientation.
STORED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, 1),
    7: np.rot90(PIXELS, 2).transpose(1, 0, 2),
    8: np.rot90(PIXELS, -1),
}


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(PIXELS).save(path)
    return str(path)


def test_formats_order_the_channels(image_file):
    np.testing.assert_array_equal(read_image(image_file), PIXELS)
    np.testing.assert_array_equal(read_image(image_file, "RGB"), PIXELS)
    np.testing.assert_array_equal(read_image(image_file, "BGR"), PIXELS[:, :, ::-1])
    grey = read_image(image_file, "L")
    assert grey.shape == (4, 6, 1)
    assert grey.dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_images_of_any_mode_become_bgr(tmp_path, mode):
    path = tmp_path / "image.png"
    Image.fromarray(PIXELS).convert(mode).save(path)
    expected = np.asarray(Image.open(path).convert("RGB"))[:, :, ::-1]
    np.testing.assert_array_equal(read_image(str(path), "BGR"), expected)


@pytest.mark.parametrize("orientation", STORED)
def test_images_are_turned_upright(tmp_path, orientation):
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    exif = image.getexif()
    exif[274] = orientation
    path = tmp_path / "image.png"
    image.save(path, exif=exif)
    np.testing.assert_array_equal(read_image(str(path), "RGB"), PIXELS)


def test_damaged_exif_is_no_reason_to_fail(tmp_path):
    path, plain = tmp_path / "image.jpg", tmp_path / "plain.jpg"
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    Image.fromarray(PIXELS).save(plain)
    np.testing.assert_array_equal(read_image(str(path), "RGB"), np.asarray(Image.open(plain)))


@pytest.mark.parametrize(("format", "channels"), [("RGB", 3), ("BGR", 3), ("L", 1)])
def test_images_of_any_format_become_rgb(format, channels):
    image = np.random.default_rng(0).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    expected = {"RGB": image, "BGR": image[..., ::-1], "L": image.repeat(3, axis=2)}[format]
    np.testing.assert_array_equal(convert_image_to_rgb(image, format), expected)
    np.testing.assert_array_equal(convert_image_to_rgb(torch.from_numpy(image), format), expected)


def test_a_broken_image_fails(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"no image")
    with pytest.raises(OSError):
        read_image(str(path), "BGR")


def test_a_size_that_differs_is_named():
    image = np.zeros((4, 6, 3), np.uint8)
    check_image_size({"width": 6, "height": 4}, image)
    with pytest.raises(SizeMismatchError, match=r"a\.png.*\(6, 4\).*\(4, 6\)"):
        check_image_size({"width": 4, "height": 6, "file_name": "a.png"}, image)
    assert issubclass(SizeMismatchError, ValueError)


def test_a_missing_size_is_filled_in():
    record = {}
    check_image_size(record, np.zeros((4, 6, 3), np.uint8))
    assert record == {"width": 6, "height": 4}


@pytest.mark.parametrize("wrap", [T.TransformList, list])
def test_boxes_are_transformed_with_the_image(wrap):
    annotation = {
        "bbox": np.array([10.0, 10, 200, 300]),
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 3,
    }
    result = transform_instance_annotations(annotation, wrap([T.HFlipTransform(400)]), (400, 400))
    np.testing.assert_allclose(result["bbox"], [200, 10, 390, 300])
    assert result["bbox_mode"] == BoxMode.XYXY_ABS
    assert result["category_id"] == 3
    assert result is annotation


def test_boxes_are_clipped_to_the_image():
    annotation = {"bbox": [-5.0, 10, 100, 400], "bbox_mode": BoxMode.XYWH_ABS}
    transforms = T.TransformList([T.CropTransform(10, 0, 50, 100)])
    result = transform_instance_annotations(annotation, transforms, (100, 50))
    np.testing.assert_allclose(result["bbox"], [0, 10, 50, 100])


@embedded_only
def test_boxes_of_integers_lose_nothing():
    annotation = {"bbox": [11, 13, 31, 47], "bbox_mode": BoxMode.XYWH_ABS}
    transforms = T.TransformList([T.ResizeTransform(480, 640, 240, 320)])
    result = transform_instance_annotations(annotation, transforms, (240, 320))
    np.testing.assert_allclose(result["bbox"], [5.5, 6.5, 21, 30])


@embedded_only
@pytest.mark.parametrize("key", ["segmentation", "keypoints"])
def test_masks_and_key_points_are_refused(key):
    annotation = {"bbox": [0.0, 0, 1, 1], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, key: []}
    with pytest.raises(ValueError, match=key):
        transform_instance_annotations(annotation, T.NoOpTransform(), (4, 4))
    with pytest.raises(ValueError, match=key):
        annotations_to_instances([annotation], (4, 4))


def test_annotations_become_instances():
    annotations = [
        {"bbox": [1.0, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 5},
        {"bbox": np.array([0.0, 0, 9, 9]), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 2},
    ]
    instances = annotations_to_instances(annotations, (40, 60))
    assert instances.image_size == (40, 60)
    assert instances.gt_boxes.tensor.tolist() == [[1, 2, 4, 6], [0, 0, 9, 9]]
    assert instances.gt_boxes.tensor.dtype == torch.float32
    assert instances.gt_classes.tolist() == [5, 2]
    assert instances.gt_classes.dtype == torch.int64


def test_no_annotations_become_empty_instances():
    instances = annotations_to_instances([], (40, 60))
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.dtype == torch.int64


def test_instances_without_extent_are_left_out():
    instances = Instances((40, 60))
    instances.gt_boxes = Boxes([[0, 0, 5, 5], [3, 3, 3, 9], [4, 9, 8, 2], [0, 0, 1, 1]])
    instances.gt_classes = torch.arange(4)
    assert filter_empty_instances(instances).gt_classes.tolist() == [0, 3]
    kept, mask = filter_empty_instances(instances, box_threshold=2, return_mask=True)
    assert kept.gt_classes.tolist() == [0]
    assert mask.tolist() == [True, False, False, False]
    assert len(filter_empty_instances(instances[:0])) == 0


def test_augmentation_follows_the_config():
    cfg = get_cfg()
    resize, flip = build_augmentation(cfg, is_train=True)
    assert isinstance(resize, T.ResizeShortestEdge)
    assert (tuple(resize.short_edge_length), resize.max_size, resize.is_range) == (
        (800,),
        1333,
        False,
    )
    assert isinstance(flip, T.RandomFlip)
    assert flip.horizontal

    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (240, 320), 500
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING, cfg.INPUT.RANDOM_FLIP = "range", "vertical"
    resize, flip = build_augmentation(cfg, is_train=True)
    assert (tuple(resize.short_edge_length), resize.max_size, resize.is_range) == (
        (240, 320),
        500,
        True,
    )
    assert flip.vertical

    cfg.INPUT.RANDOM_FLIP = "none"
    assert len(build_augmentation(cfg, is_train=True)) == 1


def test_there_is_no_flip_in_tests():
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 100, 150
    (resize,) = build_augmentation(cfg, is_train=False)
    transform = resize.get_transform(np.zeros((200, 400)))
    assert (transform.new_h, transform.new_w) == (75, 150)


@embedded_only
def test_an_unknown_flip_is_refused():
    cfg = get_cfg()
    cfg.INPUT.RANDOM_FLIP = "both"
    with pytest.raises(ValueError, match=r"INPUT\.RANDOM_FLIP.*'both'"):
        build_augmentation(cfg, is_train=True)


@pytest.mark.parametrize("kind", ["one mode", "two modes", "integers", "arrays", "none"])
def test_all_boxes_of_an_image_together_as_one_by_one(kind):
    from embedded_host.data import detection_utils as embedded
    from embedded_host.data import transforms as embedded_transforms
    from embedded_host.structures import BoxMode as EmbeddedBoxMode

    rng = np.random.default_rng(0)
    annotations = []
    for i in range(0 if kind == "none" else 9):
        box = rng.uniform(-20, 90, 4)
        if kind == "integers":
            box = box.astype(int)
        is_corners = kind == "two modes" and i % 3 == 0
        annotations.append(
            {
                "bbox": box.astype(np.float32) if kind == "arrays" else box.tolist(),
                "bbox_mode": EmbeddedBoxMode.XYXY_ABS if is_corners else EmbeddedBoxMode.XYWH_ABS,
                "category_id": i % 4,
            }
        )
    transforms = embedded_transforms.TransformList(
        [
            embedded_transforms.ResizeTransform(80, 70, 123, 117),
            embedded_transforms.HFlipTransform(117),
        ]
    )
    together = embedded.transform_annotations(annotations, transforms, (123, 117))
    one_by_one = embedded.annotations_to_instances(
        [
            embedded.transform_instance_annotations(dict(a), transforms, (123, 117))
            for a in annotations
        ],
        (123, 117),
    )
    assert torch.equal(together.gt_boxes.tensor, one_by_one.gt_boxes.tensor)
    assert together.gt_boxes.tensor.dtype == one_by_one.gt_boxes.tensor.dtype
    assert torch.equal(together.gt_classes, one_by_one.gt_classes)
    assert together.gt_classes.dtype == torch.int64
    assert together.image_size == one_by_one.image_size
