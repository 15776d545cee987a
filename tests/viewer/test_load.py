"""Every kind of labelled data, and runs, are read; what does not belong together is refused."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import label_files
import pytest

from dyhead.errors import UserError
from dyhead.viewer.load import find_sets, load_set
from dyhead.viewer.run import _describe

RESULTS = "inference/coco_instances_results.json"


@pytest.mark.parametrize(
    "write", [value for name, value in vars(label_files).items() if name.startswith("write_")]
)
def test_every_format_gives_the_same_boxes(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    (files,) = find_sets(write(tmp_path / "data"))
    loaded = load_set(files)
    assert not loaded.has_predictions
    read: dict[str, list] = {}
    for place, entry in enumerate(loaded.pictures):
        rows = loaded.truth_of(place)
        boxes, labels = loaded.truth.boxes[rows], loaded.truth.classes[rows]
        read[Path(entry.name).name] = sorted(
            (loaded.class_names[label], tuple(box[:2].tolist() + (box[2:] - box[:2]).tolist()))
            for box, label in zip(boxes, labels, strict=True)
        )
    assert sorted(read) == sorted(label_files.LABELS)
    for name, (_, objects) in label_files.LABELS.items():
        for (label, box), (wanted, expected) in zip(read[name], sorted(objects), strict=True):
            assert label == wanted and box == pytest.approx(expected, abs=1)


def test_parts_are_sets_of_their_own(tmp_path: Path) -> None:
    path = label_files.write_yolo(tmp_path / "data")
    text = path.read_text().replace("train: images/train", "train: images/train\nval: images/val")
    path.write_text(text)
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder / "val").mkdir()
        for file in sorted((tmp_path / "data" / folder / "train").glob("d.*")):
            file.rename(tmp_path / "data" / folder / "val" / file.name)
    sets = [load_set(files) for files in find_sets(path)]
    assert [(each.name, len(each.pictures)) for each in sets] == [
        ("data.yaml#train", 3),
        ("data.yaml#val", 1),
    ]
    assert [len(load_set(f).pictures) for f in find_sets(Path(f"{path}#val"))] == [1]


def test_a_run_shows_its_test_set_with_its_predictions(run_folder: Path) -> None:
    (files,) = find_sets(run_folder)
    loaded = load_set(files)
    assert (loaded.name, loaded.results_folder) == ("insects", "inference")
    assert loaded.found.scores.tolist() == [0.9, 0.8, 0.7, 0.6, 0.25, 0.5]
    assert loaded.found_pictures.tolist() == [0, 0, 0, 1, 2, 3]


def test_a_newer_evaluation_is_shown_and_named(run_folder: Path) -> None:
    older = run_folder / RESULTS
    newer = run_folder / "evaluation" / RESULTS
    newer.parent.mkdir(parents=True)
    newer.write_text(json.dumps(json.loads(older.read_text())[:2]))
    os.utime(older, (1, 1))
    loaded = load_set(find_sets(run_folder)[0])
    assert len(loaded.found.boxes) == 2
    assert "2 predictions in evaluation/inference" in _describe(loaded)


def test_ids_of_text_lead_to_the_right_pictures(run_folder: Path, source: Path) -> None:
    content = json.loads(source.read_text())
    for image in content["images"]:
        image["id"] = f"p{5 - image['id']}"  # in another order than the pictures
    for annotation in content["annotations"]:
        annotation["image_id"] = f"p{5 - annotation['image_id']}"
    source.write_text(json.dumps(content))
    results = json.loads((run_folder / RESULTS).read_text())
    for each in results:
        each["image_id"] = f"p{5 - each['image_id']}"
    (run_folder / RESULTS).write_text(json.dumps(results))
    loaded = load_set(find_sets(run_folder)[0])
    by_name = {
        loaded.pictures[place].name: loaded.found.scores[loaded.found_in(place)].tolist()
        for place in range(4)
    }
    assert by_name == {"a.png": [0.9, 0.8, 0.7], "b.png": [0.6], "c.png": [0.25], "d.png": [0.5]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "is no list of detections"),
        ([{"image_id": 1}], "it is no detection"),
        ([3], "it is no detection"),
        ([{"image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}], "image 9"),
        ([{"image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1], "score": 1}], "category 9"),
        ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": None}], "not finite"),
        ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "score": 1}], "not finite"),
    ],
)
def test_results_that_do_not_fit_are_refused_by_name(
    run_folder: Path, content: object, message: str
) -> None:
    (run_folder / RESULTS).write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{RESULTS}.*{re.escape(message)}"):
        load_set(find_sets(run_folder)[0])


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing does not exist: name a run"):
        find_sets(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no labels"):
        find_sets(tmp_path)
