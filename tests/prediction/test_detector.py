"""A detector takes pictures of any kind, one by one or many, and gives each what it gets alone."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dyhead.errors import UserError
from dyhead.prediction import Detections, Detector


def test_the_kind_and_the_order_of_channels_do_not_matter(
    runner, scene: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(scene).save(tmp_path / "a.png")
    bgr = np.ascontiguousarray(scene[:, :, ::-1])
    for input_format in ("BGR", "RGB"):
        detector = Detector.from_runner(type(runner)(input_format))
        for found in (
            detector(tmp_path / "a.png"),
            detector(str(tmp_path / "a.png")),
            detector(Image.fromarray(scene)),
            detector(bgr),
            detector(scene, channels="RGB"),
            detector(torch.from_numpy(bgr).permute(2, 0, 1)),
        ):
            assert found.names == ["red", "blue"]
            np.testing.assert_array_equal(found.boxes, [[10, 5, 40, 25], [50, 30, 90, 55]])
            drawn = np.asarray(found.plot(scale=1))
            assert (drawn[45, 70] == (0, 0, 255)).all(), "blue stays blue in the drawing"


def test_one_in_one_out_a_list_for_a_list_an_iterator_for_an_iterator(
    detector: Detector, scene: np.ndarray
) -> None:
    assert isinstance(detector(scene), Detections)
    found = detector([scene, scene])
    assert isinstance(found, list) and len(found) == 2
    assert isinstance(detector((scene,)), list)
    assert detector([]) == []
    stream = detector(iter([scene, scene]))
    assert isinstance(stream, Iterator) and len(list(stream)) == 2


def test_pictures_of_one_size_share_a_batch_and_keep_their_order(runner) -> None:
    sizes = [(40, 60), (300, 500), (40, 60), (40, 60), (300, 500), (40, 60), (200, 100)]
    pictures = []
    for number, (height, width) in enumerate(sizes):
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        picture[5:15, 5 + number : 20 + number] = (0, 0, 255)  # BGR: red
        pictures.append(picture)
    found = Detector.from_runner(runner)(pictures, batch_size=4)
    assert [f.image_size for f in found] == sizes
    for number, detections in enumerate(found):
        np.testing.assert_array_equal(detections.boxes, [[5 + number, 5, 20 + number, 15]])
    assert sorted(len(batch) for batch in runner.batches) == [1, 2, 4]
    assert all(len(set(batch)) == 1 for batch in runner.batches)


def test_an_endless_iterator_is_read_a_few_batches_ahead(
    detector: Detector, scene: np.ndarray
) -> None:
    read = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal read
        for _ in itertools.count():
            read += 1
            yield scene

    stream = detector(frames(), batch_size=2)
    assert read == 0
    for number in range(20):
        next(stream)
        assert read <= number + 8


def test_the_threshold_of_the_call_goes_before_the_detectors(runner, scene: np.ndarray) -> None:
    detector = Detector.from_runner(runner, threshold=0.7)
    assert detector(scene, channels="RGB").names == ["red"]
    assert len(detector(scene, channels="RGB", threshold=0.5)) == 2
    assert len(detector([scene], channels="RGB", threshold=0.95)[0]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 50}, "threshold is 50: make it a score from 0 to 1"),
        ({"channels": "GBR"}, "channels is 'GBR'"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_unusable_options_are_named(
    detector: Detector, scene: np.ndarray, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        detector(scene, **options)


def test_an_exported_program_of_pytorch_is_named_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cells\.pt2 is a program of torch\.export: load it by"):
        Detector(tmp_path / "cells.pt2")


def test_pictures_of_extreme_shapes_are_taken(runner) -> None:
    detector = Detector.from_runner(type(runner)(min_size=800, max_size=1333))
    for shape in ((1, 5000, 3), (2, 3000, 3), (3000, 1, 3)):
        assert len(detector(np.zeros(shape, dtype=np.uint8))) == 0


def test_a_number_is_no_picture(runner) -> None:
    detector = Detector.from_runner(type(runner)(min_size=800, max_size=1333))
    with pytest.raises(UserError, match="cannot be a int"):
        detector(7)  # type: ignore[call-overload]


@pytest.mark.parametrize("content", [b"GIF89a", bytearray(b"GIF89a"), io.BytesIO(b"GIF89a")])
def test_the_content_of_a_file_is_refused_with_the_way_out(
    detector: Detector, content: Any
) -> None:
    for given in (content, [content]):
        with pytest.raises(UserError, match=r"give PIL\.Image\.open\(file\)"):
            detector(given)


def test_importing_the_package_imports_nothing_slow() -> None:
    import subprocess
    import sys

    code = (
        "import sys, dyhead; assert 'torch' not in sys.modules and 'numpy' not in sys.modules;"
        " from dyhead import Detector, Detections; print(Detector.__name__, Detections.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["Detector", "Detections"], done.stderr
