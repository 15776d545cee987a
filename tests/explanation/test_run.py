"""`dyhead explain` leaves a page, a json and pictures."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import save_run

from dyhead import Detector
from dyhead.cli.main import main
from dyhead.explanation import pages
from dyhead.explanation.page import format_page, show_picture


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_picture_gets_a_page_a_json_and_drawings(
    run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "explained"
    words = ["explain", str(run), str(picture), "--output", str(output), "--device", "cpu"]
    main([*words, "--threshold", "0.45"])
    expected = Detector(run, device="cpu", threshold=0.45)(picture)
    assert f"{len(expected)} detections in 1 picture" in capsys.readouterr().out
    content = json.loads((output / "explanations.json").read_text())
    (shown,) = content["pictures"]
    boxes = [found["box"] for found in shown["detections"]]
    np.testing.assert_allclose(boxes, expected.boxes, atol=1e-4)
    assert content["definitions"]["sampling points"]
    drawn = sorted((output / "photo").iterdir())
    assert len(drawn) == min(len(expected), 30)
    for path in (output / "photo.png", drawn[0]):
        with Image.open(path) as image:
            assert min(image.size) > 400
            assert len(image.convert("RGB").getcolors(2**24)) > 100


def test_where_no_score_is_high_enough_the_threshold_is_named(
    run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", str(run), str(picture), "--output", str(tmp_path / "out")]
    main([*words, "--device", "cpu", "--threshold", "1"])
    out = capsys.readouterr().out
    assert "0 detections" in out and "No detection has a score of 1: lower --threshold." in out


def test_the_page_needs_nothing_beside_itself_and_holds_the_values(
    run: Path, picture: Path, tmp_path: Path
) -> None:
    explanation = Detector(run, device="cpu", threshold=0.45).explain(picture)
    shown = show_picture(explanation, Image.open(picture), "</script><b>x")
    page = format_page([shown], "run & run")
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "@import" not in page and "url(" not in page
    assert "<b>x" not in page and "run &amp; run" in page
    (data,) = re.findall(
        r"<script type=\"application/json\" id=\"data\">(.*?)</script>", page, re.S
    )
    (values,) = json.loads(data)["pictures"]
    assert values["detections"] == explanation.to_dict()["detections"]
    assert values["blocks"] == explanation.to_dict()["blocks"]
    assert "prefers-color-scheme: dark" in page


def test_a_picture_that_cannot_be_read_is_named_and_the_others_go_on(
    run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    words = ["explain", str(run), str(broken), str(picture), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--device", "cpu", "--threshold", "0.6"])
    assert ended.value.code == 1
    assert "broken.jpg" in capsys.readouterr().out
    assert (tmp_path / "out" / "explanations.html").exists()
    with pytest.raises(SystemExit, match="None of the pictures can be read"):
        main(["explain", str(run), str(broken), "--output", str(tmp_path / "none")])


def test_a_picture_in_the_output_folder_is_refused(run: Path, picture: Path) -> None:
    other = picture.with_suffix(".jpg")
    Image.open(picture).convert("RGB").save(other)
    before = picture.read_bytes()
    with pytest.raises(SystemExit, match=r"\.jpg is in the folder of --output"):
        main(["explain", str(run), str(other), "--output", str(picture.parent)])
    assert picture.read_bytes() == before


def test_pictures_of_one_name_get_a_drawing_each(run: Path, picture: Path, tmp_path: Path) -> None:
    Image.open(picture).rotate(180).convert("RGB").save(picture.with_suffix(".jpg"))
    output = tmp_path / "out"
    words = ["--output", str(output), "--device", "cpu", "--threshold", "0.45"]
    main(["explain", str(run), str(picture), str(picture.with_suffix(".jpg")), *words])
    assert {path.name for path in output.glob("*.png")} == {"photo.png", "photo-2.png"}
    assert (output / "photo").is_dir() and (output / "photo-2").is_dir()


def test_figures_leave_out_what_cannot_be_read_and_say_so(
    run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    words = ["explain", str(run), str(tmp_path / "broken.jpg"), str(picture), "--device", "cpu"]
    for figures in ("3,4", "4"):
        output = tmp_path / figures
        with pytest.raises(SystemExit) as ended:
            main([*words, "--figures", figures, "--output", str(output)])
        said = capsys.readouterr().out
        assert ended.value.code == 1 and "1 could not be read" in said and "broken.jpg" in said
        assert (output / "figure4_p3.png").is_file()
    with pytest.raises(SystemExit, match="None of the pictures can be read"):
        main([*words[:3], "--figures", "3", "--output", str(tmp_path / "none")])


@pytest.mark.parametrize("option", [("--block", "1"), ("--threshold", "0.3")], ids=lambda o: o[0])
def test_what_has_no_part_in_figures_is_refused_beside_them(
    run: Path, picture: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    words = ["--output", str(tmp_path / "out"), "--figures", "3", *option]
    with pytest.raises(SystemExit, match=f"leave {option[0]} away"):
        main(["explain", str(run), str(picture), *words])
    assert not (tmp_path / "out").exists()


def test_videos_and_missing_blocks_are_refused(run: Path, picture: Path, tmp_path: Path) -> None:
    words = ["--output", str(tmp_path / "out"), "--device", "cpu"]
    video = tmp_path / "film.mp4"
    video.write_bytes(b"")
    with pytest.raises(SystemExit, match="takes pictures only"):
        main(["explain", str(run), str(video), *words])
    with pytest.raises(SystemExit, match="no block 7"):
        main(["explain", str(run), str(picture), "--block", "7", *words])


def test_many_pictures_get_several_pages_that_lead_to_each_other(
    run: Path,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pages, "PICTURES_OF_A_PAGE", 2)
    for number in range(4):
        Image.open(picture).rotate(90 * number).save(tmp_path / f"photo{number}.png")
    output = tmp_path / "out"
    words = ["--output", str(output), "--device", "cpu", "--threshold", "0.6"]
    main(["explain", str(run), str(tmp_path), *words])
    names = [f"explanations{suffix}" for suffix in ("", "-2", "-3")]
    out, links, shown = capsys.readouterr().out, [], []
    for name in names:
        page = (output / f"{name}.html").read_text()
        links.append(re.findall(r'href="(explanations[^"]*)" rel="(\w+)"', page))
        content = json.loads((output / f"{name}.json").read_text())
        shown.append(len(content["pictures"]))
        assert page.count('class="explained"') == shown[-1] and f"{name}.html" in out
    assert shown == [2, 2, 1]
    first, second, third = (f"{name}.html" for name in names)
    assert links == [[(second, "next")], [(first, "prev"), (third, "next")], [(second, "prev")]]
