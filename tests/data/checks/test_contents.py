"""Pictures that are in the data twice are found: files, copies saved anew, and leaks."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from similar_pairs import similar_pairs

from dyhead.data.checks import CheckReport
from dyhead.data.checks.contents import PictureSet, check_contents, near_duplicate_groups
from dyhead.data.checks.same_files import same_files


def scene(seed: int) -> Image.Image:
    """A smooth picture of random colours, 320 x 240."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((320, 240), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        scene(number).save(tmp_path / f"{number}.png")
    return tmp_path


def counts(report: CheckReport) -> dict[str, int]:
    return {kind.name: number for kind, number in report.counts.items()}


def check(*sets: tuple[Path, list[str]], by_pixels: bool = True) -> CheckReport:
    report = CheckReport("pictures")
    names = ("train", "val", "test")
    named = [PictureSet(name, *each) for name, each in zip(names, sets, strict=False)]
    check_contents(named, report, by_pixels=by_pixels)
    return report


def test_different_pictures_raise_no_alarm(folder: Path) -> None:
    names = [path.name for path in folder.iterdir()]
    assert not check((folder, names[:6]), (folder, names[6:])).findings
    assert near_duplicate_groups([folder / name for name in names]) == []


def test_same_files_are_found_whatever_they_are_called(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    (folder / "link.png").symlink_to(folder / "4.png")
    paths = [folder / name for name in ("3.png", "4.png", "5.png", "copy.png", "link.png", "no")]
    assert same_files(paths) == [[0, 3], [1, 4]]


def test_files_of_one_size_are_told_apart(tmp_path: Path) -> None:
    contents = [b"a" * 20000, b"a" * 19999 + b"b", b"b" + b"a" * 19999, b"a" * 20000, b"c" * 20000]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    assert same_files([tmp_path / str(number) for number in range(5)]) == [[0, 3]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes")
def test_pipes_and_folders_are_passed_over(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    paths = [folder / "pipe.png", folder, folder / "1.png", folder / "pipe.png"]
    assert same_files(paths) == [] and near_duplicate_groups(paths) == []


def test_what_only_decoding_shows_is_told_with_the_reason(folder: Path) -> None:
    values = np.arange(4800).reshape(60, 80)
    Image.fromarray((values - 9).astype(np.int32)).save(folder / "below.tif")
    Image.fromarray(values.astype(np.float32)).save(folder / "above.tif")
    cut = (folder / "1.png").read_bytes()[:-3000]
    (folder / "cut.png").write_bytes(cut)
    names = ["2.png", "below.tif", "above.tif", "cut.png", "1.png"]
    pictures = PictureSet("train", folder, names)
    check_contents([pictures], CheckReport("pictures"))
    assert list(pictures.undecodable) == ["below.tif", "above.tif", "cut.png"]
    below, above, _ = pictures.undecodable.values()
    assert "from -9 to 4790" in below and "floating-point values go from 0 to 4799" in above


def test_kinds_tell_sameness_from_likeness_and_leaks_from_repetition(folder: Path) -> None:
    (folder / "same.png").write_bytes((folder / "1.png").read_bytes())
    scene(2).save(folder / "similar.jpg", quality=60)
    train = (folder, ["1.png", "2.png", "5.png"])
    assert counts(check((folder, ["1.png", "2.png", "same.png", "similar.jpg"]))) == {
        "same-picture": 1,
        "similar-picture": 1,
    }
    report = check(train, (folder, ["same.png", "similar.jpg", "6.png"]))
    assert counts(report) == {"same-picture-in-train": 1, "similar-picture-in-train": 1}
    assert "same.png (val) and 1.png (train)" in str(report)
    assert "similar.jpg (val) and 2.png (train)" in str(report)
    by_bytes = check(train, (folder, ["same.png", "similar.jpg"]), by_pixels=False)
    assert counts(by_bytes) == {"same-picture-in-train": 1}


def test_a_file_listed_twice_counts_for_other_sets_alone(folder: Path) -> None:
    assert not check((folder, ["1.png", "1.png"])).findings
    report = check((folder, ["1.png", "1.png"]), (folder, ["1.png"]))
    assert counts(report) == {"same-picture-in-train": 1}


def test_saved_anew_resized_or_turned_upright_pictures_are_similar(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(1).save(folder / "a.jpg", quality=40)
    scene(1).resize((131, 99)).save(folder / "b.png")
    scene(1).transpose(Image.Transpose.ROTATE_90).save(folder / "c.jpg", exif=exif)
    names = ["0.png", "1.png", "a.jpg", "b.png", "2.png", "c.jpg"]
    assert near_duplicate_groups([folder / name for name in names]) == [[1, 2, 3, 5]]


def test_frames_that_change_step_by_step_are_one_group(tmp_path: Path) -> None:
    first, last = (np.asarray(scene(seed), np.float32) for seed in (1, 2))
    for number in range(40):
        frame = first + (last - first) * number / 60
        Image.fromarray(frame.round().astype(np.uint8)).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    assert near_duplicate_groups(paths) == [list(range(40))]
    assert near_duplicate_groups([paths[0], paths[39]]) == []


def test_all_pairs_are_those_of_a_comparison_one_by_one() -> None:
    generator = np.random.default_rng(0)
    bases = generator.integers(0, 256, (30, 16, 16, 3))
    noise = generator.integers(-4, 5, (700, 16, 16, 3)) * generator.integers(0, 4, (700, 1, 1, 1))
    thumbnails = np.clip(bases[generator.integers(0, 30, 700)] + noise, 0, 255).astype(np.uint8)
    thumbnails[:40] = thumbnails[:40] // 16 + 100  # of little contrast
    thumbnails[40:60] = thumbnails[40:60] // 128 + 100  # too blank
    centred = thumbnails - thumbnails.mean(axis=(1, 2), keepdims=True)
    contrasts = np.sqrt((centred**2).mean(axis=(1, 2, 3)))
    expected = set()
    for i, j in itertools.combinations(range(700), 2):
        lower = min(contrasts[i], contrasts[j])
        difference = np.abs(centred[i] - centred[j]).mean()
        if lower >= 4 and difference <= min(4, 0.14 * lower):
            expected.add((i, j))
    assert 100 < len(expected) < 20000
    assert set(similar_pairs(thumbnails)) == expected


def test_blank_pictures_are_not_called_similar(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (60, 40), (100 + number, 90, 90)).save(tmp_path / f"{number}.png")
    assert near_duplicate_groups(sorted(tmp_path.iterdir())) == []


def test_a_brighter_copy_is_similar(folder: Path) -> None:
    brighter = np.minimum(np.asarray(scene(1)).astype(int) + 5, 255).astype(np.uint8)
    Image.fromarray(brighter).save(folder / "brighter.png")
    assert near_duplicate_groups([folder / "1.png", folder / "brighter.png"]) == [[0, 1]]


def test_few_pictures_are_no_problem(folder: Path) -> None:
    assert near_duplicate_groups([]) == [] == near_duplicate_groups([folder / "1.png"])
    assert (
        not check((folder, [])).findings and not check((folder, ["no.png"]), (folder, [])).findings
    )


def test_progress_ends_with_all_pictures(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    near_duplicate_groups(sorted(folder.iterdir()), lambda *call: calls.append(call))
    assert calls[-1] == (12, 12)
