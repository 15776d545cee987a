"""Detections have the kinds of the report, and objects are missed as thresholds say."""

import numpy as np
import pytest

from dyhead.viewer.kinds import Errors, Found, Kind, Objects, classify_errors

OBJECT = (0, 0, 10, 10)
FAR = (50, 50, 60, 60)


def objects(*rows: tuple, crowds: tuple[int, ...] = ()) -> Objects:
    boxes = np.array([row[:4] for row in rows], float).reshape(-1, 4)
    is_crowd = np.isin(np.arange(len(rows)), crowds)
    return Objects(boxes, np.array([row[4] for row in rows], int), is_crowd)


def found(*rows: tuple) -> Found:
    """The most certain first, as files of results are read."""
    rows = tuple(sorted(rows, key=lambda row: -row[5]))
    boxes = np.array([row[:4] for row in rows], float).reshape(-1, 4)
    labels, scores = ([row[i] for row in rows] for i in (4, 5))
    return Found(boxes, np.array(labels, int), np.array(scores, float))


def classify(truth: Objects, detections: Found) -> tuple[list[Kind], Errors]:
    errors = classify_errors(truth, detections)
    return [Kind(kind) for kind in errors.kinds], errors


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (OBJECT, 0, Kind.MATCHED),
        ((0, 0, 10, 5), 0, Kind.MATCHED),  # an IoU of just 0.5
        ((0, 0, 10, 4.9), 0, Kind.LOCALISATION),
        ((0, 0, 10, 1), 0, Kind.LOCALISATION),  # of just 0.1
        ((0, 0, 10, 0.9), 0, Kind.BACKGROUND),
        (FAR, 0, Kind.BACKGROUND),
        (OBJECT, 1, Kind.CLASSIFICATION),
        ((0, 0, 10, 4.9), 1, Kind.BOTH),
        ((0, 0, 10, 0.9), 1, Kind.BACKGROUND),
    ],
)
def test_a_detection_beside_one_object(box: tuple, label: int, kind: Kind) -> None:
    assert classify(objects((*OBJECT, 0)), found((*box, label, 0.5)))[0] == [kind]


def test_the_most_certain_is_matched_and_the_other_is_a_duplicate() -> None:
    sure, unsure = (0, 0, 10, 9, 0, 0.9), (*OBJECT, 0, 0.4)
    kinds, errors = classify(objects((*OBJECT, 0)), found(sure, unsure))
    assert kinds == [Kind.MATCHED, Kind.DUPLICATE]
    assert errors.found_at.tolist() == [0.9]


def test_each_detection_takes_the_free_object_of_the_highest_overlap() -> None:
    near = (0, 0, 10, 8, 0)
    kinds, errors = classify(
        objects((*OBJECT, 0), near), found((*OBJECT, 0, 0.9), (*OBJECT, 0, 0.8))
    )
    assert kinds == [Kind.MATCHED, Kind.MATCHED]
    assert errors.found_at.tolist() == [0.9, 0.8]


def test_an_object_is_excused_by_what_is_aimed_at_it_and_by_nothing_else() -> None:
    truth = objects((*OBJECT, 0), (*FAR, 1))
    aimed = found((0, 0, 10, 4, 0, 0.6), (*FAR, 0, 0.7), (20, 20, 30, 30, 0, 0.9))
    kinds, errors = classify(truth, aimed)
    assert kinds == [Kind.BACKGROUND, Kind.CLASSIFICATION, Kind.LOCALISATION]
    assert errors.excused_at.tolist() == [0.6, 0.7]
    assert errors.found_at.tolist() == [-1, -1]
    both = classify(objects((*OBJECT, 0)), found((0, 0, 10, 4, 1, 0.6)))[1]
    assert both.excused_at.tolist() == [-1]


def test_detections_in_a_crowd_count_for_nothing_and_crowds_are_no_objects() -> None:
    truth = objects((0, 0, 40, 40, 0), (*OBJECT, 0), crowds=(0,))
    kinds, errors = classify(
        truth, found((*OBJECT, 0, 0.9), (20, 20, 25, 25, 0, 0.8), (20, 20, 25, 25, 1, 0.7))
    )
    assert kinds == [Kind.MATCHED, Kind.IGNORED, Kind.BACKGROUND]
    assert errors.found_at.tolist() == [-1, 0.9]


def test_nothing_found_and_nothing_there() -> None:
    assert classify(objects(), found((*OBJECT, 0, 0.5)))[0] == [Kind.BACKGROUND]
    kinds, errors = classify(objects((*OBJECT, 0)), found())
    assert kinds == [] and errors.found_at.tolist() == [-1]
    assert classify(objects(), found())[0] == []


def random_picture(seed: int) -> tuple[Objects, Found]:
    """Objects, some of them crowds, and detections around them."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (6, 2))
    truth = np.concatenate([corners, corners + rng.uniform(5, 40, (6, 2))], axis=1)
    moved = truth[rng.integers(0, 6, 30)] + rng.normal(0, 5, (30, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    labels = rng.integers(0, 2, 6), rng.integers(0, 2, 30)
    is_crowd = rng.random(6) < 0.2
    return Objects(truth, labels[0], is_crowd), Found(
        moved, labels[1], np.sort(rng.random(30))[::-1]
    )


@pytest.mark.parametrize("seed", range(10))
def test_what_is_less_certain_changes_nothing(seed: int) -> None:
    truth, detections = random_picture(seed)
    whole = classify_errors(truth, detections)
    for threshold in (0.2, 0.5, 0.8):
        kept = detections.scores >= threshold
        part = classify_errors(truth, Found(*(each[kept] for each in detections)))
        assert (part.kinds == whole.kinds[kept]).all()
        for all_scores, scores in zip(whole[1:], part[1:], strict=True):
            assert ((all_scores >= threshold) == (scores >= threshold)).all()


@pytest.mark.parametrize("seed", range(10))
def test_matches_are_those_of_pycocotools(seed: int) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, detections = random_picture(seed)
    coco, results = COCO(), COCO()
    images, categories = [{"id": 1}], [{"id": 0}, {"id": 1}]

    def entry(number: int, box: np.ndarray, label: int, **more: float) -> dict:
        x, y, right, bottom = box.tolist()
        size = (right - x, bottom - y)
        entry = {"id": number, "image_id": 1, "category_id": int(label), "bbox": [x, y, *size]}
        return {**entry, "area": size[0] * size[1], "iscrowd": 0, **more}

    rows = enumerate(zip(truth.boxes, truth.classes, truth.is_crowd, strict=True), start=1)
    annotations = [entry(i, box, label, iscrowd=int(crowd)) for i, (box, label, crowd) in rows]
    rows = enumerate(zip(detections.boxes, detections.classes, detections.scores, strict=True), 1)
    predicted = [entry(i, box, label, score=score) for i, (box, label, score) in rows]
    for api, entries in ((coco, annotations), (results, predicted)):
        api.dataset = {"images": images, "categories": categories, "annotations": entries}
        api.createIndex()
    evaluation = COCOeval(coco, results, "bbox")
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.evaluate()
    kinds = classify_errors(truth, detections).kinds
    for part in evaluation.evalImgs[:: len(evaluation.params.areaRng)]:
        if part is None:
            continue
        for number, match, ignore in zip(
            part["dtIds"], part["dtMatches"][0], part["dtIgnore"][0], strict=True
        ):
            assert (kinds[number - 1] == Kind.MATCHED) == (match > 0 and not ignore)
            assert (kinds[number - 1] == Kind.IGNORED) == bool(match > 0 and ignore)
