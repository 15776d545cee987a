"""Sources of the command line are found, once, and drawn under names that nothing else has."""

import os
from pathlib import Path, PurePosixPath

import pytest

from dyhead.errors import UserError
from dyhead.prediction.sources import Kind, Source, choose_targets, find_sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures, a video and what is neither."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.JPG", "photos/deep/a.png", "photos/clip.mp4", "photos/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "photos" / ".hidden.png").touch()
    return tmp_path


def names(texts: list[str], output: str = "out") -> list[str]:
    return [str(source.name) for source in find_sources(texts, Path(output))]


def test_folders_are_searched_with_all_below_them(folder: Path) -> None:
    sources = find_sources(["photos"], Path("out"))
    assert [str(source.name) for source in sources] == ["b.JPG", "clip.mp4", "deep/a.png"]
    assert [source.kind for source in sources] == [Kind.PICTURE, Kind.VIDEO, Kind.PICTURE]
    assert sources[2].location == os.path.join("photos", "deep", "a.png")


def test_patterns_keep_the_folders_below_their_fixed_part(folder: Path) -> None:
    assert names(["photos/**/*.png"]) == ["deep/a.png"]
    assert names(["photos/*"]) == ["b.JPG", "clip.mp4"]
    assert names([str(folder / "*" / "*" / "?.png")]) == ["photos/deep/a.png"]


def test_files_are_taken_as_they_are_named_and_once(folder: Path) -> None:
    texts = ["photos/deep/a.png", "photos", "./photos/b.JPG", "photos/notes.txt"]
    assert names(texts) == ["a.png", "b.JPG", "clip.mp4", "notes.txt"]
    (folder / "odd[1].png").touch()
    assert names(["odd[1].png"]) == ["odd[1].png"], "a file comes before a pattern"


def test_cameras_and_addresses(folder: Path) -> None:
    web = "https://example.org/a%20b/my%20cat.png?size=3"
    sources = find_sources(["0", "/dev/video12", web, "http://example.org/x/clip.mp4"], Path("out"))
    assert [source.kind for source in sources] == [
        Kind.CAMERA,
        Kind.CAMERA,
        Kind.PICTURE,
        Kind.VIDEO,
    ]
    expected = ["camera0", "camera12", "my_cat.png", "clip.mp4"]
    assert [str(source.name) for source in sources] == expected
    assert sources[2].location == web
    assert names(["https://example.org/../..%2f..", "https://example.org"]) == ["picture"] * 2
    Path("0").touch()
    assert find_sources(["0"], Path("out"))[0].kind is Kind.PICTURE, "a file of that name exists"


def test_drawings_of_an_earlier_run_are_no_sources(folder: Path) -> None:
    earlier = folder / "photos" / "found"
    earlier.mkdir()
    (earlier / "b.JPG").touch()
    assert "found/b.JPG" in names(["photos"])
    assert "found/b.JPG" not in names(["photos"], "photos/found")
    assert "found/b.JPG" not in names(["photos/**/*"], "photos/found")


@pytest.mark.parametrize(
    ("texts", "output", "message"),
    [
        (["absent.png"], "out", "absent.png does not exist"),
        (["photos", "*.gif"], "out", r"\*.gif holds no picture and no video"),
        (["empty"], "out", "empty holds no picture"),
        (["photos"], "photos", "photos is in the folder of --output photos"),
        (["photos/deep"], "photos", "photos/deep is in the folder of --output photos"),
        (["photos/b.JPG"], "photos", "photos/b.JPG is in the folder of --output photos"),
        (["photos/deep/a.png"], "photos/../photos", "photos/deep/a.png is in the folder of"),
    ],
)
def test_nothing_found_is_one_sentence(
    folder: Path, texts: list[str], output: str, message: str
) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_sources(texts, Path(output))


def targets(*locations: str, output: str = "out") -> list[str]:
    sources = [Source(Kind.PICTURE, x, PurePosixPath(Path(x).name)) for x in locations]
    return [str(path.relative_to(output)) for path in choose_targets(sources, Path(output))]


def test_drawings_keep_the_names_of_their_sources(folder: Path) -> None:
    sources = find_sources(["photos"], Path("out"))
    expected = [Path("out/b.JPG"), Path("out/clip.mp4"), Path("out/deep/a.png")]
    assert choose_targets(sources, Path("out")) == expected
    camera = find_sources(["0"], Path("out"))
    assert choose_targets(camera, Path("out")) == [Path("out/camera0.mp4")]


def test_equal_names_are_told_apart_by_numbers() -> None:
    assert targets("x/a.png", "y/a.png", "z/A.PNG", "a-2.png") == [
        "a.png",
        "a-2.png",
        "A-3.PNG",
        "a-2-2.png",
    ]


def test_sources_and_results_are_never_written_over() -> None:
    assert targets("out/a.png", "x/b.png") == ["a-2.png", "b.png"]
    assert targets("x/a.png", "out/a.png") == ["a-2.png", "a-3.png"]


def test_formats_that_cannot_be_written_become_png() -> None:
    assert targets("a.gif", "b", "c.txt", "d.webp", "e.TIF") == [
        "a.png",
        "b.png",
        "c.png",
        "d.webp",
        "e.TIF",
    ]
