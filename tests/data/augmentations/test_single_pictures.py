"""Boxes of pictures that are cropped, resized and padded are where their objects are."""

import numpy as np
import pytest
import torch
from PIL import Image
from planted_boxes import assert_boxes_are_where_colors_are, find, paint
from torchvision.ops import box_iou
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes

from dyhead.d2.data import transforms as T
from dyhead.d2.structures import BoxMode
from dyhead.data.augmentations.fixed_size import CropToSize, PadToSize, ScaleJitter
from dyhead.data.augmentations.iou_crop import IoUCrop, _best_ious
from dyhead.data.augmentations.sample import Sample
from dyhead.data.seeding import seed_cpu_generators
from dyhead.data.training_mapper import build_training_mappers

OBJECTS = {0: (10, 8, 40, 50), 1: (60, 20, 110, 60), 2: (30, 62, 90, 88)}
SIZE = (96, 128)


@pytest.fixture
def record(tmp_path):
    Image.fromarray(paint(SIZE, OBJECTS)).save(tmp_path / "a.png")
    return {
        "file_name": str(tmp_path / "a.png"),
        "height": SIZE[0],
        "width": SIZE[1],
        "annotations": [
            {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": index}
            for index, box in OBJECTS.items()
        ],
    }


def mapped_samples(cfg, record, number=40):
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.PIXEL_MEAN = [0.0, 0.0, 0.0]
    mapper, _ = build_training_mappers(cfg, [record])
    for seed in range(number):
        seed_cpu_generators(seed)
        yield Sample.of(mapper(record))


@pytest.mark.parametrize(
    "changes",
    [
        ["INPUT.AUG.IOU_CROP.PROB", 1.0],
        ["INPUT.AUG.FIXED_SIZE.SIZE", (80, 100)],
        ["INPUT.AUG.FIXED_SIZE.SIZE", (100, 80), "INPUT.AUG.FIXED_SIZE.SCALES", (0.5, 2.0)],
        [
            *("INPUT.AUG.FIXED_SIZE.SIZE", (70, 90), "INPUT.AUG.FIXED_SIZE.SCALES", (0.6, 1.8)),
            *("INPUT.AUG.IOU_CROP.PROB", 1.0, "INPUT.AUG.FIXED_SIZE.PAD", False),
        ],
        [
            *("INPUT.AUG.COLOR.PROB", 1.0, "INPUT.AUG.COLOR.HUE", 0.0),
            *("INPUT.AUG.COLOR.CONTRAST", 0.2, "INPUT.AUG.COLOR.SATURATION", 0.2),
            *("INPUT.RANDOM_FLIP", "vertical"),
        ],
    ],
    ids=str,
)
def test_boxes_are_where_the_objects_are_and_too_little_is_none(cfg, record, changes):
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (90,), "INPUT.AUG.MIN_VISIBLE", 0.4, *changes])
    threshold = 80 if "INPUT.AUG.COLOR.PROB" in changes else 127
    kept = 0
    for sample in mapped_samples(cfg, record):
        assert_boxes_are_where_colors_are(sample, threshold, tolerance=1.5)
        kept += len(sample.boxes)
        for index in set(OBJECTS) - set(sample.classes.tolist()):
            found = find(sample.image, index)
            if found is not None and not _touches_the_edge(found.box, sample):
                raise AssertionError(f"class {index} is whole, and has no box")
    assert kept > 60


def test_boxes_that_have_to_stay_whole_are_whole(cfg, record):
    cfg.INPUT.AUG.IOU_CROP.PROB, cfg.INPUT.AUG.MIN_VISIBLE = 1.0, 1.0
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)
    kept = 0
    for sample in mapped_samples(cfg, record):
        for box, index in zip(sample.boxes.tolist(), sample.classes.tolist(), strict=True):
            whole = OBJECTS[index]
            assert box[2] - box[0] == whole[2] - whole[0] and box[3] - box[1] == whole[3] - whole[1]
        kept += len(sample.boxes)
    assert 30 < kept < 110  # of 120


def _touches_the_edge(box, sample):
    """Tell whether a rectangle may go on beyond what is shown, which may end before padding."""
    shown = (sample.image != 0).any(dim=0).nonzero()
    bottom, right = (shown.max(dim=0).values + 1).tolist()
    left, top, *ends = box
    return left <= 1 or top <= 1 or ends[0] >= right - 1 or ends[1] >= bottom - 1


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.1, 2.0)])
def test_all_pictures_have_the_fixed_size(cfg, record, scales):
    cfg.INPUT.AUG.FIXED_SIZE.SIZE, cfg.INPUT.AUG.FIXED_SIZE.SCALES = (72, 100), scales
    for sample in mapped_samples(cfg, record, 20):
        assert sample.size == (72, 100)
    mapper, _ = build_training_mappers(cfg, [record])
    assert mapper(record)["instances"].image_size == (72, 100)


def test_a_letterbox_shows_the_whole_picture_as_large_as_it_fits(cfg, record):
    cfg.INPUT.AUG.FIXED_SIZE.SIZE, cfg.INPUT.AUG.FIXED_SIZE.PAD = (72, 200), False
    cfg.INPUT.RANDOM_FLIP = "none"
    (sample,) = mapped_samples(cfg, record, 1)
    assert sample.size == (72, 96)
    expected = np.multiply(list(OBJECTS.values()), 72 / 96)
    np.testing.assert_allclose(sample.boxes, expected, atol=1e-4)


@pytest.mark.parametrize("size", [(3, 500), (500, 3), (1, 1)])
def test_extreme_shapes_keep_a_pixel(size):
    picture = np.zeros((*size, 3), dtype=np.uint8)
    augmentations = [
        IoUCrop(0.3),
        ScaleJitter((32, 32), (0.1, 0.1)),
        CropToSize((32, 32)),
    ]
    for seed in range(20):
        seed_cpu_generators(seed)
        boxes = np.array([[0.0, 0.0, size[1], size[0]]])
        aug_input = T.AugInput(picture, boxes=boxes)
        T.AugmentationList(augmentations)(aug_input)
        assert min(aug_input.image.shape[:2]) >= 1


def test_the_scales_cover_their_range():
    picture = np.zeros((50, 100, 3), dtype=np.uint8)
    widths = [
        ScaleJitter((200, 200), (0.5, 1.5)).get_transform(picture).new_w / 200 for _ in range(300)
    ]
    assert 0.5 <= min(widths) < 0.53 and 1.47 < max(widths) <= 1.5
    assert np.mean(widths) == pytest.approx(1.0, abs=0.06)


def test_iou_crops_keep_an_object_by_its_centre_and_pictures_without_objects_whole():
    picture = np.zeros((100, 150, 3), dtype=np.uint8)
    boxes = np.array([[20.0, 30.0, 60.0, 70.0], [90.0, 10.0, 140.0, 90.0]])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sizes = set()
    for _ in range(100):
        crop = IoUCrop(0.3).get_transform(picture, boxes)
        if isinstance(crop, T.CropTransform):
            low, size = np.array([crop.x0, crop.y0]), np.array([crop.w, crop.h])
            assert ((low < centres) & (centres < low + size)).all(axis=1).any()
            assert (size >= np.floor([0.3 * 150, 0.3 * 100])).all()
        sizes.add(type(crop))
    assert len(sizes) == 2  # some are left whole
    for nothing in (None, np.zeros((0, 4))):
        assert isinstance(IoUCrop(0.3).get_transform(picture, nothing), T.NoOpTransform)


def test_overlaps_of_crops_are_torchvisions_where_they_hold_a_centre():
    corners = np.random.randint(0, 60, (2, 30, 2))
    crops, boxes = (np.concatenate([c, c + np.random.randint(1, 60, c.shape)], 1) for c in corners)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    ious = box_iou(torch.from_numpy(crops), torch.from_numpy(boxes)).numpy()
    held = [((crop[:2] < centres) & (centres < crop[2:])).all(axis=1) for crop in crops]
    expected = [iou[holds].max(initial=-1) for iou, holds in zip(ious, held, strict=True)]
    assert max(expected) > -1 and min(expected) == -1
    np.testing.assert_allclose(_best_ious(crops, boxes), expected, rtol=1e-6)


def test_iou_crops_are_as_often_whole_and_as_large_as_torchvisions():
    picture = np.zeros((100, 150, 3), dtype=np.uint8)
    boxes = np.array([[20.0, 30.0, 60.0, 70.0], [90.0, 10.0, 140.0, 90.0], [5.0, 5.0, 20.0, 15.0]])
    theirs = v2.RandomIoUCrop()
    objects = BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=(100, 150))
    areas, theirs_areas = [], []
    for _ in range(600):
        crop = IoUCrop(0.3).get_transform(picture, boxes)
        areas.append(crop.w * crop.h if isinstance(crop, T.CropTransform) else 0)
        chosen = theirs.make_params([objects])
        theirs_areas.append(chosen["width"] * chosen["height"] if chosen else 0)
    whole, theirs_whole = (np.mean(np.equal(each, 0)) for each in (areas, theirs_areas))
    assert whole == pytest.approx(theirs_whole, abs=0.06)
    quantiles = [
        np.quantile([a for a in each if a], [0.25, 0.5, 0.75]) for each in (areas, theirs_areas)
    ]
    np.testing.assert_allclose(*quantiles, rtol=0.15)


def test_padding_repeats_the_mean_to_the_right_and_below():
    image = torch.full((3, 4, 5), 200, dtype=torch.uint8)
    padded = PadToSize((6, 8), (1.0, 2.6, 3.2))(image)
    assert torch.equal(padded[:, :4, :5], image)
    for row, column in ((5, 0), (0, 7), (5, 7)):
        assert padded[:, row, column].tolist() == [1, 3, 3]
    whole = torch.zeros((3, 6, 8), dtype=torch.uint8)
    assert PadToSize((6, 8), (1.0, 2.0, 3.0))(whole) is whole


def test_crowds_are_no_objects_of_crops_or_mixtures(cfg, record):
    for annotation in record["annotations"][1:]:
        annotation["iscrowd"] = 1
    cfg.INPUT.AUG.IOU_CROP.PROB = cfg.INPUT.AUG.COPY_PASTE.PROB = 1.0
    cfg.INPUT.AUG.MIN_VISIBLE = 0.0
    cfg.INPUT.MIN_SIZE_TRAIN = (96,)
    for sample in mapped_samples(cfg, record, 20):
        assert set(sample.classes.tolist()) == {0}  # the only one whose centre a crop has to hold


def test_without_augmentation_any_remainder_of_a_box_stays_as_the_host_has_it(cfg, record):
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [60, 41]
    cfg.INPUT.AUG.MIN_VISIBLE = 1.0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (0,), "none"
    cut = 0
    for sample in mapped_samples(cfg, record):
        boxes = sample.boxes.tolist()
        whole = [OBJECTS[index] for index in sample.classes.tolist()]
        cut += sum(
            (right - left) * (bottom - top) < 0.5 * (b[2] - b[0]) * (b[3] - b[1])
            for (left, top, right, bottom), b in zip(boxes, whole, strict=True)
        )
    assert cut > 5
