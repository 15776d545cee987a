"""An explanation is of the detections that the detector gives, in pixels of the picture."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small_runs import save_run

from dyhead import Detector
from dyhead.errors import UserError
from dyhead.prediction import RawDetections

STRIDES = {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run"), **{"MODEL.DYHEAD.NUM_CONVS": 2})


@pytest.fixture(scope="module")
def detector(run: Path) -> Detector:
    return Detector(run, device="cpu", threshold=0.4)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_the_detections_are_those_of_a_call(detector: Detector, picture: np.ndarray) -> None:
    for threshold in (None, 0.2):
        explanation, found = (
            detector.explain(picture, threshold=threshold),
            detector(picture, threshold=threshold),
        )
        assert len(explanation) == len(explanation.objects) == len(found) > 3
        np.testing.assert_array_equal(explanation.detections.boxes, found.boxes)
        np.testing.assert_array_equal(explanation.detections.scores, found.scores)
        np.testing.assert_array_equal(explanation.detections.class_ids, found.class_ids)


def test_threads_may_detect_and_explain_at_once(detector: Detector, picture: np.ndarray) -> None:
    found = detector(picture)
    locations = [each.location for each in detector.explain(picture).objects]

    def work(number: int) -> bool:
        if number % 2:
            return np.array_equal(detector(picture).boxes, found.boxes)
        return [each.location for each in detector.explain(picture).objects] == locations

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(16)))


def test_locations_are_in_pixels_of_the_picture(detector: Detector, picture: np.ndarray) -> None:
    explanation = detector.explain(picture)
    assert explanation.seen_size == (96, 128), "MIN_SIZE_TEST"
    assert dict(zip(explanation.level_names, explanation.strides, strict=True)) == STRIDES
    for each in explanation.objects:
        stride = STRIDES[explanation.level_names[each.level]]
        # with the offset 0.5 of this config's anchors a location is the middle of its cell
        x, y = (each.column + 0.5) * stride * 80 / 128, (each.row + 0.5) * stride * 60 / 96
        assert each.location == pytest.approx((x, y), abs=1e-4)


def test_points_surround_the_location_of_a_block_with_a_regular_grid(
    tmp_path: Path, picture: np.ndarray
) -> None:
    run = save_run(tmp_path, **{"MODEL.DYHEAD.SPATIAL_AWARE": False})
    explanation = Detector(run, device="cpu", threshold=0.4).explain(picture)
    for each in explanation.objects[:5]:
        (points,) = each.points
        own = points.places[points.levels == each.level]
        stride = STRIDES[explanation.level_names[each.level]] * 80 / 128
        distances = np.abs(own - each.location)
        assert distances.max() <= stride * 1.001
        assert (distances.max(axis=1) < 0.01).sum() == 1, "the middle tap"


def test_the_block_that_is_asked_for_is_traced_to_the_first(
    detector: Detector, picture: np.ndarray
) -> None:
    both, first = detector.explain(picture), detector.explain(picture, block=1)
    assert both.block == 2 and first.block == 1
    assert [points.block for points in both.objects[0].points] == [2, 1]
    assert [points.block for points in first.objects[0].points] == [1]
    for block in (0, 3):
        with pytest.raises(UserError, match=f"no block {block}: the detector has 1 to 2"):
            detector.explain(picture, block=block)


def test_the_fused_and_the_plain_form_are_explained_alike(
    run: Path, detector: Detector, picture: np.ndarray
) -> None:
    plain = Detector(
        run, device="cpu", threshold=0.4, overrides=["MODEL.DYHEAD.FUSED", "False"]
    ).explain(picture)
    fused = detector.explain(picture)
    assert len(fused.blocks) == 2 and len(fused.blocks[0]) == 5
    for block, other in zip(fused.blocks, plain.blocks, strict=True):
        for level, expected in zip(block, other, strict=True):
            assert level.branches == expected.branches
            assert len(level.weights) == len(level.branches)
            assert all(0.5 <= weight <= 1 for weight in level.weights)
            np.testing.assert_allclose(level.weights, expected.weights, atol=1e-5)
            np.testing.assert_allclose(level.dyrelu, expected.dyrelu, atol=1e-5)
    for one, two in zip(fused.objects, plain.objects, strict=True):
        assert (one.level, one.row, one.column) == (two.level, two.row, two.column)


def test_channels_are_switched_where_the_slopes_say_so(
    detector: Detector, picture: np.ndarray
) -> None:
    level = detector.explain(picture).blocks[-1][0]
    steeper = np.maximum(level.dyrelu[:, 0], level.dyrelu[:, 2])
    other = np.minimum(level.dyrelu[:, 0], level.dyrelu[:, 2])
    x = np.array([-100.0, 100.0])
    lines = level.dyrelu[:, [0, 2], None] * x + level.dyrelu[:, [1, 3], None]
    far = lines.max(axis=1)  # what DyReLU makes of large values
    np.testing.assert_allclose(level.slopes, np.stack([steeper, other], axis=1))
    np.testing.assert_allclose(far[:, 1] / 100, steeper, atol=0.01)
    np.testing.assert_allclose(far[:, 0] / -100, other, atol=0.01)
    assert set(level.damped) == set(np.flatnonzero(steeper < 0.75))
    assert not set(level.damped) & set(level.amplified)


def test_it_is_written_as_json(detector: Detector, picture: np.ndarray) -> None:
    explanation = detector.explain(picture)
    plain = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert len(plain["detections"]) == len(explanation)
    first = plain["detections"][0]["explanation"]
    assert first["level"] in STRIDES and len(first["sampled"]) == 2
    assert len(first["sampled"][0]["points"]) == len(explanation.objects[0].points[0].weights)
    assert len(plain["blocks"][0][0]["slopes"]) == len(explanation.blocks[0][0].dyrelu)
    assert "from p" in repr(explanation)


def test_what_cannot_be_explained_is_refused(
    run: Path, tmp_path: Path, picture: np.ndarray
) -> None:
    scales = Detector(run, device="cpu", overrides=["TEST.AUG.ENABLED", True])
    with pytest.raises(UserError, match="TEST.AUG.ENABLED looks at a picture in several scales"):
        scales.explain(picture)
    without = save_run(tmp_path / "without", **{"MODEL.DYHEAD.NUM_CONVS": 0})
    with pytest.raises(UserError, match="no DyHead blocks"):
        Detector(without, device="cpu").explain(picture)

    class Exported:
        class_names, category_ids, input_format = ("a",), (1,), "BGR"
        min_size = max_size = 0

        def __call__(self, images: object) -> list[RawDetections]:
            return []

    with pytest.raises(UserError, match="exported model cannot be explained"):
        Detector.from_runner(Exported()).explain(picture)
