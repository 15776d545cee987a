"""`dyhead predict`: drawings, results and an exit status, whatever is among the sources."""

import argparse
import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_runs import IDS, NAMES, save_run

from dyhead import Detector
from dyhead.cli import predict
from dyhead.detector import load_detector
from dyhead.errors import UserError
from dyhead.prediction import run as prediction_run

SIZE = (80, 60)  # width, height


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load a detector of the same arguments once for all tests, for nothing changes it."""
    loaded: dict[str, Any] = {}

    def load(*args: Any, **kwargs: Any) -> Any:
        key = repr((args, kwargs))
        if key not in loaded:
            loaded[key] = load_detector(*args, **kwargs)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dyhead.detector.load_detector", load)
        yield


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the loggers as they were."""
    monkeypatch.setattr("dyhead.d2.utils.logger.setup_logger", lambda **_: None)


def save_image(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    save_image(folder / "b.jpg", 1)
    save_image(folder / "a" / "c.png", 2, (50, 90))
    save_image(folder / "d.png", 3)
    return folder


@pytest.fixture
def call(run_folder: Path, tmp_path: Path) -> Callable[..., int]:
    """Call it with sources and options to get the exit status; results are in `tmp_path/out`."""

    def call_predict(*arguments: Any) -> int:
        parser = argparse.ArgumentParser()
        predict.add_arguments(parser)
        output = ["--output", str(tmp_path / "out"), "--device", "cpu"]
        return predict.run(parser.parse_args([str(run_folder), *map(str, arguments), *output]))

    return call_predict


def read_results(tmp_path: Path) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())
    with open(tmp_path / "out" / "predictions.csv", newline="", encoding="utf-8") as file:
        return results, list(csv.DictReader(file))


def left_in(folder: Path) -> list[str]:
    """Return the names in a folder, but for the lock, of which nothing is shown."""
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name != prediction_run.LOCK_NAME]


def test_every_picture_is_drawn_and_json_and_csv_agree(
    call: Callable[..., int],
    photos: Path,
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    assert call(photos, "--threshold", "0.2") == 0
    results, rows = read_results(tmp_path)
    expected = {str(photos / name): i for i, name in enumerate(["a/c.png", "b.jpg", "d.png"], 1)}
    assert {result["file_name"]: result["image_id"] for result in results} == expected
    detector = Detector(run_folder, device="cpu", threshold=0.2)
    for file_name, image_id in expected.items():
        wanted = detector(file_name).to_coco(image_id)
        found = [result for result in results if result["image_id"] == image_id]
        assert len(found) == len(wanted) > 0
        for result, entry in zip(found, wanted, strict=True):
            assert result["category_id"] == entry["category_id"]
            assert result["bbox"] == pytest.approx(entry["bbox"], abs=0.02)
            assert result["score"] == pytest.approx(entry["score"], abs=1e-4)
            assert "frame" not in result
        drawn = Image.open(tmp_path / "out" / Path(file_name).relative_to(photos))
        given = Image.open(file_name)
        assert drawn.width % given.width == 0 and np.asarray(drawn).std() > 10
    assert len(rows) == len(results)
    for row, result in zip(rows, results, strict=True):
        assert row["file_name"] == result["file_name"] and row["frame"] == ""
        assert int(row["category_id"]) == result["category_id"]
        assert row["name"] == NAMES[IDS.index(result["category_id"])]
        assert [float(row[key]) for key in ("x", "y", "width", "height")] == result["bbox"]
        assert float(row["score"]) == result["score"]
    assert "3 pictures" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before


def test_a_damaged_picture_is_named_and_the_others_go_on(
    call: Callable[..., int], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (photos / "d.png").read_bytes()
    (photos / "c.png").write_bytes(whole[: len(whole) // 2])
    assert call(photos, "--threshold", "0.2") == 1
    out = capsys.readouterr().out
    assert "3 pictures" in out and "1 could not be read" in out and "c.png can't be read" in out
    results, _ = read_results(tmp_path)
    names = {Path(result["file_name"]).name for result in results}
    assert names == {"b.jpg", "c.png", "d.png"}, "the c.png of the subfolder"
    assert not (tmp_path / "out" / "c.png").exists()
    assert (tmp_path / "out" / "a" / "c.png").exists()


def test_nothing_found_is_a_result(
    call: Callable[..., int], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(photos, "--threshold", "1") == 0
    assert read_results(tmp_path) == ([], [])
    assert "nothing found" in capsys.readouterr().out
    assert (tmp_path / "out" / "d.png").exists()


def test_classes_are_chosen_by_name(call: Callable[..., int], photos: Path, tmp_path: Path) -> None:
    assert call(photos, "--threshold", "0.1", "--no-pictures", "--classes", "dog", "cow") == 0
    _, rows = read_results(tmp_path)
    assert rows and {row["name"] for row in rows} <= {"dog", "cow"}
    assert left_in(tmp_path / "out") == ["predictions.csv", "predictions.json"]


def test_a_picture_in_the_output_folder_is_refused(
    call: Callable[..., int], tmp_path: Path
) -> None:
    for name in ("a.png", "a-2.png"):  # the name that a drawing of a.png would get
        save_image(tmp_path / "out" / name, 1)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UserError, match=r"a\.png is in the folder of --output .*choose another"):
        call(tmp_path / "out" / "a.png")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_second_run_into_the_same_folder_replaces_the_first(
    call: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    left = []
    for _ in range(2):
        assert call(photos / "b.jpg") == 0
        left.append(sorted(path.name for path in (tmp_path / "out").iterdir()))
    assert left[0] == left[1] and "b.jpg" in left[0]


def test_options_of_the_model_reach_it(
    call: Callable[..., int], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Recorded(prediction_run.PredictionRun):
        def __init__(self, detector: Detector, *args: Any) -> None:
            seen.append(detector)
            super().__init__(detector, *args)

    monkeypatch.setattr(prediction_run, "PredictionRun", Recorded)
    options = ["--multi-scale", "--precision", "bfloat16", "--set", "INPUT.MIN_SIZE_TEST", "64"]
    assert call(photos / "b.jpg", *options, "--batch", "2") == 0
    runner = seen[0]._runner
    assert runner.min_size == 64
    assert type(runner._model.model).__name__ == "MultiScaleTesting"
    assert "bfloat16" in str(runner._model._dtype)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jpg"], "absent.jpg does not exist"),
        (["{photos}", "--classes", "bird"], "no class 'bird': choose one of cat, dog, cow"),
        (["{photos}", "--threshold", "30"], "threshold is 30"),
        (["{photos}", "--set", "MODEL.NOTHING", "1"], "unknown key MODEL.NOTHING"),
    ],
)
def test_unusable_input_is_one_sentence_before_the_work(
    call: Callable[..., int], photos: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        call(*(argument.format(photos=photos) for argument in arguments))
    assert not (tmp_path / "out").exists()


def save_video(path: Path, frames: int) -> None:
    from dyhead.prediction.video import VideoFile

    file = VideoFile(path, 5)
    for number in range(frames):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        file.write(Image.fromarray(pixels))
    file.close()


def test_a_video_gives_a_video_and_results_by_frame(
    call: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    save_video(tmp_path / "clip.mp4", 6)
    arguments = [photos / "b.jpg", tmp_path / "clip.mp4", "--threshold", "0.2"]
    assert call(*arguments) == 0
    results, rows = read_results(tmp_path)
    of_video = [result for result in results if result["file_name"].endswith("clip.mp4")]
    assert {(result["frame"], result["image_id"]) for result in of_video} == {
        (frame, frame + 2) for frame in range(6)
    }
    assert {row["frame"] for row in rows} == {"", *map(str, range(6))}
    with av.open(str(tmp_path / "out" / "clip.mp4")) as drawn:
        frames = list(drawn.decode(video=0))
    assert len(frames) == 6 and (frames[0].width, frames[0].height) == (320, 240)

    assert call(*arguments, "--max-frames", "2") == 0
    results, _ = read_results(tmp_path)
    assert {result["frame"] for result in results if "frame" in result} == {0, 1}


def test_a_camera_runs_until_it_is_interrupted(
    call: Callable[..., int], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Camera:
        rate, num_frames, is_closed = 5.0, None, False

        def __iter__(self) -> Iterator[np.ndarray]:
            for number in range(3):
                yield np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
            raise KeyboardInterrupt

        def close(self) -> None:
            self.is_closed = True

    camera = Camera()
    monkeypatch.setattr(prediction_run, "open_camera", lambda text: camera)
    assert call("7", photos / "b.jpg", "--threshold", "0.2", "--no-pictures") == 0
    results, _ = read_results(tmp_path)
    frames = {result.get("frame") for result in results if result["file_name"] == "7"}
    assert frames == {0, 1, 2} and camera.is_closed
    assert any(result["file_name"].endswith("b.jpg") for result in results)


def test_a_video_that_cannot_be_read_is_named_and_the_others_go_on(
    call: Callable[..., int], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    (photos / "broken.mp4").write_text("no video")
    assert call(photos, "--threshold", "0.2") == 1
    assert "broken.mp4 can't be read as a video" in capsys.readouterr().out
    assert {Path(r["file_name"]).name for r in read_results(tmp_path)[0]} == {
        "b.jpg",
        "c.png",
        "d.png",
    }
    assert not (tmp_path / "out" / "broken.mp4").exists()


def test_an_interruption_leaves_what_was_found(
    call: Callable[..., int], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    save = prediction_run.Detections.save

    def save_twice(self: Any, *args: Any) -> Path:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(args)
        return save(self, *args)

    monkeypatch.setattr(prediction_run.Detections, "save", save_twice)
    assert call(photos, "--threshold", "0.2", "--batch", "1") == 130
    results, _ = read_results(tmp_path)
    assert {result["image_id"] for result in results} == {1, 2, 3}


def test_a_drawing_that_cannot_be_written_leaves_what_was_found(
    call: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "d.png").mkdir(parents=True)
    with pytest.raises(UserError, match=r"d\.png"):
        call(photos, "--threshold", "0.2", "--batch", "1")
    results, rows = read_results(tmp_path)
    assert {result["image_id"] for result in results} == {1, 2, 3}
    assert len(rows) == len(results)


def test_a_termination_leaves_what_was_found(
    call: Callable[..., int], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, before = prediction_run.Detections.save, signal.getsignal(signal.SIGTERM)

    def save_and_be_ended(self: Any, *args: Any) -> Path:
        path = save(self, *args)
        signal.raise_signal(signal.SIGTERM)
        return path

    monkeypatch.setattr(prediction_run.Detections, "save", save_and_be_ended)
    with pytest.raises(SystemExit) as ended:
        call(photos, "--threshold", "0.2", "--batch", "1")
    assert ended.value.code == 143
    assert {result["image_id"] for result in read_results(tmp_path)[0]} == {1}
    assert signal.getsignal(signal.SIGTERM) == before


def test_results_are_on_the_disk_while_the_run_goes_on(
    call: Callable[..., int], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    take = prediction_run.PredictionRun._take

    def take_and_look(self: Any, *args: Any) -> None:
        take(self, *args)
        unfinished = sorted((tmp_path / "out").glob(".predictions.unfinished.*"))
        sizes.append([path.stat().st_size for path in unfinished])

    monkeypatch.setattr(prediction_run.PredictionRun, "_take", take_and_look)
    for number in range(30):
        save_image(photos / "many" / f"{number}.png", number)
    assert call(photos, "--threshold", "0", "--no-pictures") == 0
    assert 0 < sizes[-2][0] < sizes[-1][0] and 0 < sizes[-2][1] < sizes[-1][1]
    results, rows = read_results(tmp_path)
    assert len(results) == len(rows) > 33
    assert left_in(tmp_path / "out") == ["predictions.csv", "predictions.json"]


def test_two_runs_do_not_write_into_one_folder(
    call: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    code = """
import sys
from dyhead.safe_io.lock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
    path = str(tmp_path / "out" / prediction_run.LOCK_NAME)
    words = [sys.executable, "-c", code, path]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=r"--output .* is in use by another run \(process"):
            call(photos)
        other.communicate()
    assert call(photos, "--no-pictures") == 0
