"""A saved detector gives what the model gives, whatever pictures stand beside a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import IDS, NAMES, save_run

from dyhead import Detector
from dyhead.d2.data.transforms import ResizeShortestEdge
from dyhead.detector import load_detector
from dyhead.errors import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(60, 80), (90, 50), (60, 80), (40, 200), (96, 96), (75, 100)]
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_a_run_is_all_it_takes(run: Path, pictures: list[np.ndarray]) -> None:
    for source in (run, run / "model_final.pth"):
        detector = Detector(source, device="cpu")
        assert (detector.class_names, detector.category_ids) == (NAMES, IDS)
        assert "cat, dog, cow" in repr(detector)
        assert len(detector(pictures[0], threshold=0.2)) > 0


def test_detections_are_the_models_own(run: Path, pictures: list[np.ndarray]) -> None:
    detector = Detector(run, device="cpu", threshold=0)
    model = load_detector(run, device="cpu").model
    for picture in pictures:
        resized = ResizeShortestEdge([96, 96], 160).get_transform(picture).apply_image(picture)
        image = torch.from_numpy(resized.transpose(2, 0, 1).copy())
        height, width = picture.shape[:2]
        with torch.no_grad():
            (output,) = model([{"image": image, "height": height, "width": width}])
        expected = output["instances"]
        found = detector(picture)
        assert len(found) == len(expected) > 10
        np.testing.assert_allclose(found.boxes, expected.pred_boxes.tensor, atol=1e-4)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        assert found.class_ids.tolist() == expected.pred_classes.tolist()


def test_a_batch_of_sizes_equals_single_pictures(run: Path, pictures: list[np.ndarray]) -> None:
    detector = Detector(run, device="cpu", threshold=0)
    for together, picture in zip(detector(pictures, batch_size=3), pictures, strict=True):
        alone = detector(picture)
        assert together.image_size == picture.shape[:2]
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-3)  # pixels
        assert together.class_ids.tolist() == alone.class_ids.tolist()


def test_grey_is_bgr_of_equal_channels(run: Path, pictures: list[np.ndarray]) -> None:
    detector = Detector(run, device="cpu", threshold=0)
    grey = pictures[0][:, :, 0]
    expected = detector(np.dstack([grey] * 3))
    for found in (detector(grey), detector(grey[:, :, None]), detector(Image.fromarray(grey))):
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_pixels_reach_the_model_in_its_order_of_channels(
    run: Path, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    bgr = Detector(run, device="cpu", threshold=0)
    rgb = Detector(run, device="cpu", threshold=0, overrides=["INPUT.FORMAT", "RGB"])
    expected, swapped = bgr(pictures[0]), bgr(pictures[0], channels="RGB")
    np.testing.assert_array_equal(rgb(pictures[0], channels="RGB").scores, expected.scores)
    np.testing.assert_array_equal(rgb(pictures[0]).scores, swapped.scores)
    assert not np.array_equal(expected.scores, swapped.scores)
    with pytest.raises(UserError, match="INPUT.FORMAT 'L' wants 1"):
        Detector(run, device="cpu", overrides=["INPUT.FORMAT", "L"])


def test_several_scales_and_other_precisions_are_used(
    run: Path, pictures: list[np.ndarray]
) -> None:
    plain, scales, short = (
        Detector(run, device="cpu", threshold=0, overrides=overrides)(pictures[0])
        for overrides in ([], ["TEST.AUG.ENABLED", True], ["TEST.PRECISION", "bfloat16"])
    )
    assert scales.boxes.shape != plain.boxes.shape or not np.allclose(scales.boxes, plain.boxes)
    assert scales.image_size == plain.image_size == (60, 80)
    assert scales.boxes.max() > 40, "in pixels of the picture, not of a view"
    assert short.scores.shape != plain.scores.shape or not np.allclose(
        short.scores, plain.scores, atol=1e-6
    )
    assert short.scores[0] == pytest.approx(plain.scores[0], abs=0.05)


def test_what_is_no_detector_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Detector(tmp_path / "absent")
    with pytest.raises(UserError, match="fixed: give the checkpoint"):
        Detector(tmp_path / "model.onnx", overrides=["TEST.PRECISION", "bfloat16"])
