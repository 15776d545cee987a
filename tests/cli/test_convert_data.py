"""`dyhead convert-data` on small sets of several formats."""

import json

import pytest
from label_files import LABELS, WRITERS, write_coco, write_yolo

from dyhead.cli.main import main


@pytest.mark.parametrize("kind", WRITERS)
def test_the_written_json_reads_back_as_the_same_set(tmp_path, kind, capsys):
    (tmp_path / "given").mkdir()
    path, out = WRITERS[kind](tmp_path / "given"), tmp_path / "out.json"
    main(["convert-data", str(path), str(out)])
    printed = capsys.readouterr().out
    assert f"{out}: 4 images, 6 annotations, 3 categories, {kind}" in printed
    content = json.loads(out.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes = [
        (names[a["category_id"]], pytest.approx(a["bbox"], abs=1e-6))
        for a in content["annotations"]
    ]
    assert boxes == [(name, list(box)) for _, found in LABELS.values() for name, box in found]
    again = tmp_path / "again.json"
    folder = printed.split("Image folder: ")[1].splitlines()[0]
    main(["convert-data", str(out), str(again), "--images", folder])
    assert json.loads(again.read_text()) == content


def test_what_is_left_out_is_printed(tmp_path, capsys):
    path = write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "a.txt").write_text("one two\n")
    main(["convert-data", str(path), str(tmp_path / "out.json")])
    assert "1 x label that cannot be read: left out (" in capsys.readouterr().out


def test_both_parts_of_a_divided_set_are_the_whole(tmp_path):
    path = write_coco(tmp_path)
    names = []
    for part in ("train", "val"):
        out = tmp_path / f"{part}.json"
        main(["convert-data", f"{path}#{part}", str(out), "--val-ratio", "0.25", "--seed", "1"])
        names.append([image["file_name"] for image in json.loads(out.read_text())["images"]])
    assert len(names[1]) == 1 and sorted(names[0] + names[1]) == sorted(LABELS)


@pytest.mark.parametrize(
    ("write", "part", "options", "message"),
    [
        (write_yolo, "#train", ["--val-ratio", "0.1"], "^Error: --val-ratio: .*is not divided"),
        (write_coco, "", ["--seed", "0"], "^Error: --seed: .*is not divided"),
        (write_coco, "", ["--val-ratio", "0.1", "--seed", "3"], "--val-ratio and --seed: .*not di"),
        (write_coco, "#val", ["--val-ratio", "1.5"], "--val-ratio is 1.5: give a share"),
        (write_coco, "#val", ["--val-ratio", "0"], "--val-ratio is 0.0: give a share"),
    ],
)
def test_options_that_would_do_nothing_are_refused_by_their_names(
    tmp_path, write, part, options, message
):
    path, out = write(tmp_path), tmp_path / "out.json"
    with pytest.raises(SystemExit, match=message):
        main(["convert-data", f"{path}{part}", str(out), *options])
    assert not out.exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("instances.json", "is an input, which stays as it is: name another file"),
        ("out.txt", "give a file name that ends in .json"),
        ("nowhere/out.json", "nowhere/out.json cannot be written"),
    ],
)
def test_files_that_cannot_be_written_are_refused_and_the_source_stays(tmp_path, out, message):
    path = write_coco(tmp_path)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=message):
        main(["convert-data", str(path), str(tmp_path / out)])
    assert path.read_bytes() == before
