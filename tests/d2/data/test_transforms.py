import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from dyhead.d2.data import transforms as T


def random_image(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_resize_keeps_the_number_of_dimensions(channels):
    image = random_image(20, 30, channels)
    resized = T.ResizeTransform(20, 30, 40, 15).apply_image(image)
    assert resized.dtype == np.uint8
    assert resized.shape == (40, 15, *image.shape[2:])


def test_resize_of_bytes_is_pils():
    image = random_image(21, 33)
    expected = np.asarray(Image.fromarray(image).resize((15, 40), Image.Resampling.BILINEAR))
    transform = T.ResizeTransform(21, 33, 40, 15)
    np.testing.assert_array_equal(transform.apply_image(image), expected)
    reversed_channels = transform.apply_image(image[:, :, ::-1])
    np.testing.assert_array_equal(reversed_channels, expected[:, :, ::-1])
    flipped = transform.apply_image(image[:, ::-1])
    np.testing.assert_array_equal(
        flipped, np.asarray(Image.fromarray(image[:, ::-1].copy()).resize((15, 40), 2))
    )


@pytest.mark.parametrize(
    ("interp", "mode"),
    [
        (Image.Resampling.NEAREST, "nearest"),
        (Image.Resampling.BILINEAR, "bilinear"),
        (Image.Resampling.BICUBIC, "bicubic"),
    ],
)
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_resize_of_floats_is_torchs(interp, mode, channels):
    image = random_image(21, 33, channels).astype(np.float32)
    resized = T.ResizeTransform(21, 33, 40, 15, interp).apply_image(image)
    tensor = torch.from_numpy(image).reshape(21, 33, -1).permute(2, 0, 1)[None]
    align_corners = None if mode == "nearest" else False
    expected = F.interpolate(tensor, (40, 15), mode=mode, align_corners=align_corners)
    expected = expected[0].permute(1, 2, 0).reshape(40, 15, *image.shape[2:])
    np.testing.assert_allclose(resized, expected.numpy(), atol=1e-4)


def test_resize_of_flipped_floats():
    image = np.random.default_rng(0).random((8, 6, 3)).astype(np.float32)
    transform = T.ResizeTransform(8, 6, 4, 3)
    resized = transform.apply_image(image[:, ::-1])
    np.testing.assert_allclose(resized, transform.apply_image(image[:, ::-1].copy()))


def test_resize_refuses_an_image_of_another_size():
    with pytest.raises(AssertionError):
        T.ResizeTransform(10, 10, 5, 5).apply_image(random_image(10, 11))


def test_resize_maps_boxes_with_the_image_and_back():
    transform = T.ResizeTransform(20, 30, 40, 15)
    boxes = np.array([[3.0, 5.0, 30.0, 20.0]])
    resized = transform.apply_box(boxes.copy())
    np.testing.assert_allclose(resized, [[1.5, 10, 15, 40]])
    np.testing.assert_allclose(transform.inverse().apply_box(resized), boxes)


def test_resize_of_labels_makes_no_new_ones():
    labels = np.zeros((10, 10), np.uint8)
    labels[:5] = 200
    resized = T.ResizeTransform(10, 10, 23, 23).apply_segmentation(labels)
    assert set(np.unique(resized)) == {0, 200}


@pytest.mark.parametrize(
    ("old", "short", "longest", "new"),
    [
        ((480, 640), 800, 1333, (800, 1067)),
        ((640, 480), 800, 1333, (1067, 800)),
        ((400, 1000), 800, 1333, (533, 1333)),
        ((1000, 400), 800, 1333, (1333, 533)),
        ((500, 500), 800, 1333, (800, 800)),
        ((333, 500), 240, 320, (213, 320)),
    ],
)
def test_resize_shortest_edge_keeps_the_aspect_ratio(old, short, longest, new):
    assert T.ResizeShortestEdge.get_output_shape(*old, short, longest) == new
    transform = T.ResizeShortestEdge(short, longest).get_transform(np.zeros(old))
    assert (transform.new_h, transform.new_w) == new


def short_sides(augmentation, times=200):
    image = np.zeros((50, 70))
    transforms = [augmentation.get_transform(image) for _ in range(times)]
    return {min(transform.new_h, transform.new_w) for transform in transforms}


def test_resize_shortest_edge_chooses_among_the_lengths():
    assert short_sides(T.ResizeShortestEdge([20, 30, 40], 1000, "choice")) == {20, 30, 40}


def test_resize_shortest_edge_samples_from_the_range():
    assert short_sides(T.ResizeShortestEdge([20, 24], 1000, "range")) == {20, 21, 22, 23, 24}


def test_a_short_edge_of_zero_changes_nothing():
    transform = T.ResizeShortestEdge(0, 1000, "choice").get_transform(np.zeros((5, 7)))
    assert isinstance(transform, T.NoOpTransform)


@pytest.mark.parametrize(("lengths", "style"), [([10, 20, 30], "range"), ([10], "median")])
def test_resize_shortest_edge_refuses_what_it_cannot_sample(lengths, style):
    with pytest.raises(AssertionError):
        T.ResizeShortestEdge(lengths, 100, style)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_resize_shortest_edge_shape_is_scriptable():
    def resize(image):
        height, width = T.ResizeShortestEdge.get_output_shape(
            image.shape[-2], image.shape[-1], 80, 133
        )
        return F.interpolate(image.unsqueeze(0), size=(height, width))

    scripted = torch.jit.script(resize)
    for shape in ((3, 10, 10), (3, 8, 100)):
        image = torch.randn(shape)
        assert torch.equal(resize(image), scripted(image))


def test_resize_goes_to_a_fixed_shape():
    image = random_image(20, 30)
    assert T.Resize(12).get_transform(image).apply_image(image).shape == (12, 12, 3)
    assert T.Resize((12, 9)).get_transform(image).apply_image(image).shape == (12, 9, 3)


@pytest.mark.parametrize(
    ("arguments", "kind"), [({}, T.HFlipTransform), ({"horizontal": False}, T.VFlipTransform)]
)
def test_random_flip_flips_with_its_probability(arguments, kind):
    np.random.seed(0)
    arguments = {**arguments, "vertical": kind is T.VFlipTransform}
    image = random_image(6, 4)
    always, never = T.RandomFlip(1.0, **arguments), T.RandomFlip(0.0, **arguments)
    axis = 1 if kind is T.HFlipTransform else 0
    np.testing.assert_array_equal(
        always.get_transform(image).apply_image(image), np.flip(image, axis)
    )
    assert isinstance(never.get_transform(image), T.NoOpTransform)
    half = T.RandomFlip(**arguments)
    flips = sum(isinstance(half.get_transform(image), kind) for _ in range(1000))
    assert 400 < flips < 600


@pytest.mark.parametrize("both", [True, False])
def test_random_flip_needs_one_direction(both):
    with pytest.raises(ValueError):
        T.RandomFlip(horizontal=both, vertical=both)


@pytest.mark.parametrize(
    ("crop_type", "crop_size", "heights", "widths"),
    [
        ("relative", (0.5, 0.25), (20, 20), (15, 15)),
        ("relative_range", (0.5, 0.75), (20, 40), (45, 60)),
        ("absolute", (10, 100), (10, 10), (60, 60)),
        ("absolute_range", (10, 50), (10, 40), (10, 50)),
    ],
)
def test_random_crop_stays_within_its_sizes_and_the_image(crop_type, crop_size, heights, widths):
    np.random.seed(0)
    augmentation = T.RandomCrop(crop_type, crop_size)
    image = random_image(40, 60)
    places, sizes = set(), set()
    for _ in range(200):
        transform = augmentation.get_transform(image)
        height, width = transform.apply_image(image).shape[:2]
        assert heights[0] <= height <= heights[1]
        assert widths[0] <= width <= widths[1]
        assert 0 <= transform.x0 <= 60 - width
        assert 0 <= transform.y0 <= 40 - height
        places.add((transform.x0, transform.y0))
        sizes.add((height, width))
    assert len(places) > 10 and (len(sizes) > 10) == crop_type.endswith("range")


def test_random_crop_refuses_an_unknown_type():
    with pytest.raises(AssertionError):
        T.RandomCrop("somehow", (1, 1))


def test_crop_moves_boxes_with_the_image():
    transform = T.CropTransform(10, 5, 20, 20)
    np.testing.assert_allclose(transform.apply_box(np.array([[10.0, 5, 12, 9]])), [[0, 0, 2, 4]])


def test_augmentations_are_printed_with_what_differs_from_the_defaults():
    crop, flip = T.RandomCrop("relative", (100, 100)), T.RandomFlip(prob=0.25)
    assert str(crop) == "RandomCrop(crop_type='relative', crop_size=(100, 100))"
    assert str(flip) == "RandomFlip(prob=0.25)"
    assert str(T.RandomFlip()) == "RandomFlip()"
    assert str(T.AugmentationList([crop, flip])) == f"AugmentationList[{crop}, {flip}]"


def test_each_augmentation_sees_the_result_of_the_one_before():
    class ByBoth(T.Augmentation):
        def get_transform(self, image, sem_seg):
            assert image.shape[:2] == sem_seg.shape == (100, 80)
            return T.ResizeTransform(100, 80, 50, 40)

    class ByImage(T.Augmentation):
        def get_transform(self, anything):
            assert anything.shape[:2] == (50, 40)
            return T.HFlipTransform(40)

    labels = np.zeros((100, 80), np.uint8)
    labels[:, :40] = 1
    inputs = T.AugInput(random_image(100, 80), boxes=np.array([[0.0, 0, 20, 10]]), sem_seg=labels)
    transforms = inputs.apply_augmentations([ByBoth(), ByImage(), T.NoOpTransform()])
    assert [type(t) for t in transforms.transforms[:2]] == [T.ResizeTransform, T.HFlipTransform]
    assert inputs.image.shape == (50, 40, 3)
    np.testing.assert_allclose(inputs.boxes, [[30, 0, 40, 5]])
    assert inputs.sem_seg[:, 20:].all()
    assert not inputs.sem_seg[:, :20].any()


def test_an_augmentation_that_asks_for_what_is_not_there_is_answered():
    class ByDepth(T.Augmentation):
        def get_transform(self, image, depth):
            return T.NoOpTransform()

    with pytest.raises(AttributeError, match="depth"):
        T.AugInput(random_image(4, 4)).apply_augmentations([ByDepth()])


def test_an_augmentation_has_to_name_what_it_sees():
    class ByAnything(T.Augmentation):
        def get_transform(self, image, *others):
            return T.NoOpTransform()

    with pytest.raises(TypeError):
        ByAnything()(T.AugInput(random_image(4, 4)))


def test_an_augmentation_has_to_give_a_transform():
    class Nothing(T.Augmentation):
        def get_transform(self, image):
            return None

    with pytest.raises(AssertionError):
        Nothing()(T.AugInput(random_image(4, 4)))


def test_lists_nest_and_give_one_flat_list_of_transforms():
    inner = T.AugmentationList([T.RandomFlip(1.0), T.Resize(20)])
    transforms = T.AugmentationList([inner, T.Resize(30)])(T.AugInput(random_image(10, 10)))
    assert isinstance(transforms, T.TransformList)
    assert len(transforms) == 3


@pytest.mark.parametrize("image", [[[1, 2]], np.zeros((2, 2, 3, 1))])
def test_an_input_has_to_be_an_image(image):
    with pytest.raises(AssertionError):
        T.AugInput(image)


def test_augmentations_can_be_sent_to_other_processes():
    augmentations = T.AugmentationList(
        [T.RandomCrop("relative", (0.5, 0.5)), T.ResizeShortestEdge([10, 20]), T.RandomFlip()]
    )
    sent = pickle.loads(pickle.dumps(augmentations))
    results = []
    for each in (augmentations, sent):
        np.random.seed(0)
        results.append(T.AugInput(random_image(20, 30)))
        each(results[-1])
    np.testing.assert_array_equal(results[0].image, results[1].image)


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_an_augmentation_is_applied_with_the_given_probability(prob):
    image = random_image(10, 12)
    aug_input = T.AugInput(image)
    transform = T.RandomApply(T.HFlipTransform(12), prob)(aug_input)
    expected = image[:, ::-1] if prob else image
    np.testing.assert_array_equal(aug_input.image, expected)
    np.testing.assert_array_equal(transform.apply_image(image), expected)


def test_a_change_of_colours_leaves_places_alone():
    image = random_image(10, 12)
    for transform in (
        T.ColorTransform(lambda pixels: 255 - pixels),
        T.PILColorTransform(ImageOps.invert),
    ):
        np.testing.assert_array_equal(transform.apply_image(image), 255 - image)
        points, labels = np.random.rand(3, 2), random_image(10, 12, channels=0)
        np.testing.assert_array_equal(transform.apply_coords(points), points)
        np.testing.assert_array_equal(transform.apply_segmentation(labels), labels)
        assert isinstance(transform.inverse(), T.NoOpTransform)


@pytest.mark.parametrize(
    ("augmentation", "other"),
    [
        (T.RandomBrightness, lambda image: np.zeros(image.shape)),
        (T.RandomContrast, lambda image: np.full(image.shape, image.mean())),
        (T.RandomSaturation, lambda image: (image @ [0.299, 0.587, 0.114])[..., None]),
    ],
)
def test_colours_are_mixed_with_another_image(augmentation, other):
    image = random_image(10, 12)
    same = augmentation(1.0, 1.0).get_transform(image).apply_image(image)
    np.testing.assert_array_equal(same, image)
    half = augmentation(0.5, 0.5).get_transform(image).apply_image(image)
    np.testing.assert_allclose(half, (image + other(image)) / 2, atol=1.0)
    shares = [augmentation(0.2, 1.4).get_transform(image).dst_weight for _ in range(50)]
    assert 0.2 <= min(shares) < 0.5 < 1.1 < max(shares) <= 1.4
