"""Videos are written and read by PyAV and by OpenCV, upright, and what is missing is named."""

import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyhead.errors import UserError
from dyhead.prediction.video import VideoFile, open_camera, open_video

WIDTH, HEIGHT, FRAMES = 64, 48, 7


@pytest.fixture(params=["av", "cv2"])
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package in use; the other one cannot be imported."""
    pytest.importorskip(request.param)
    monkeypatch.setitem(sys.modules, {"av": "cv2", "cv2": "av"}[request.param], None)
    return request.param


def frame(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Grey, brighter from frame to frame, with a red upper left quarter."""
    image = Image.new("RGB", size, (30 * number,) * 3)
    image.paste((250, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    return image


def save_video(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    file = VideoFile(path, 12.5)
    for number in range(FRAMES):
        file.write(frame(number, size))
    assert not path.exists(), "a video appears when it is complete"
    file.close()
    return path


def test_frames_come_back_in_bgr(package: str, tmp_path: Path) -> None:
    path = save_video(tmp_path / "new" / "a.mp4")
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]
    reader = open_video(str(path))
    frames = list(reader)
    reader.close()
    assert len(frames) == FRAMES == reader.num_frames
    assert reader.rate == pytest.approx(12.5)
    for number, pixels in enumerate(frames):
        assert pixels.shape == (HEIGHT, WIDTH, 3) and pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels[36, 48], [30 * number] * 3, atol=12)
        np.testing.assert_allclose(pixels[12, 16], [0, 0, 250], atol=25)


def test_odd_sizes_are_filled_up_and_other_sizes_are_fitted(package: str, tmp_path: Path) -> None:
    path = save_video(tmp_path / "odd.mp4", (63, 47))
    assert next(iter(open_video(str(path)))).shape == (48, 64, 3)
    file = VideoFile(tmp_path / "mixed.mp4", 5)
    file.write(frame(1))
    file.write(frame(2, (30, 100)))
    file.close()
    first, second = open_video(str(tmp_path / "mixed.mp4"))
    assert first.shape == second.shape == (48, 64, 3)
    for number, pixels in ((1, first), (2, second)):  # the second one is squeezed
        np.testing.assert_allclose(pixels[36, 48], [30 * number] * 3, atol=12)
        np.testing.assert_allclose(pixels[12, 16], [0, 0, 250], atol=25)


def test_a_video_without_frames_is_not_written(package: str, tmp_path: Path) -> None:
    VideoFile(tmp_path / "a.mp4", 5).close()
    assert list(tmp_path.iterdir()) == []


def turn(path: Path, degrees: int) -> None:
    """Let an MP4 file say that it is shown after a turn clockwise, as phones do."""
    one = 1 << 16
    turns = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}
    a, b, c, d = turns[degrees]
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    content = path.read_bytes()
    start = content.index(identity, content.index(b"tkhd"))
    path.write_bytes(content[:start] + turned + content[start + len(turned) :])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_videos_of_phones_are_turned_upright(package: str, degrees: int, tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.mp4")
    turn(path, degrees)
    pixels = next(iter(open_video(str(path))))
    shown = np.rot90(np.asarray(frame(0))[:, :, ::-1], -degrees // 90)
    assert pixels.shape == shown.shape
    np.testing.assert_allclose(
        pixels[12::24, 12::20].astype(int), shown[12::24, 12::20].astype(int), atol=30
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_may_have_a_colon(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_video(Path("2024-01-01T10:30.mp4"))
    assert len(list(open_video("2024-01-01T10:30.mp4"))) == FRAMES


def test_what_is_no_video_is_named(package: str, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for name, message in {"text.mp4": "text.mp4 can't be read", "absent.mp4": "not exist"}.items():
        with pytest.raises(UserError, match=message):
            list(open_video(str(tmp_path / name)))


def test_a_video_cut_off_gives_what_it_has_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            image = av.VideoFrame.from_image(frame(number))
            container.mux(stream.encode(image))
        container.mux(stream.encode())

    class Failing:
        def __init__(self, container: object) -> None:
            self._container = container

        def __getattr__(self, name: str) -> object:
            return getattr(self._container, name)

        def decode(self, stream: object):
            for count, decoded in enumerate(self._container.decode(stream)):  # type: ignore[attr-defined]
                if count == 3:
                    raise av.error.InvalidDataError(1, "damaged")
                yield decoded

    open_file = av.open
    monkeypatch.setattr(av, "open", lambda *args, **options: Failing(open_file(*args, **options)))
    reader = open_video(str(path))
    frames = []
    with pytest.raises(UserError, match="further than its first 3 frames"):
        frames.extend(reader)
    assert len(frames) == 3


def test_without_both_packages_the_command_that_installs_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("av", "cv2"):
        monkeypatch.setitem(sys.modules, name, None)
    for use in (
        lambda: open_video("a.mp4"),
        lambda: VideoFile(tmp_path / "a.mp4", 5),
        lambda: open_camera("0"),
    ):
        with pytest.raises(UserError, match=r"needs .*: pip install"):
            use()


def test_a_camera_that_is_not_there_is_named(package: str) -> None:
    with pytest.raises(UserError, match="(camera 97|/dev/video97).*can't be read|OpenCV"):
        open_camera("/dev/video97")
