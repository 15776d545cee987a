"""Whatever is annotated and detected, the scores are those of pycocotools."""

import json
from pathlib import Path
from typing import Any

import pytest
from coco_detections import CATEGORY_IDS, NAMES, evaluate, pycocotools_scores
from coco_registration import register_annotations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dyhead.evaluation.coco_evaluation import build_coco_evaluator
from dyhead.evaluation.fast_coco_eval import is_installed

IMAGE_IDS = (0, 3, 2**31)
SIDES = st.integers(1, 800).map(lambda quarters: quarters / 4)  # exact in float32
BOXES = st.tuples(SIDES, SIDES, SIDES, SIDES).map(list)


@st.composite
def labelled(draw: st.DrawFn) -> dict[str, Any]:
    """A data set with objects, crowds, areas below their boxes', repeated boxes, empty images."""
    box = st.fixed_dictionaries(
        {
            "image_id": st.sampled_from(IMAGE_IDS),
            "category_id": st.sampled_from(CATEGORY_IDS),
            "bbox": BOXES,
            "iscrowd": st.sampled_from((0, 0, 0, 1)),
        }
    )
    shares = st.sampled_from((1.0, 0.5, 0.01))
    annotations = [
        {**each, "id": number, "area": each["bbox"][2] * each["bbox"][3] * draw(shares)}
        for number, each in enumerate(draw(st.lists(box, max_size=12)), start=1)
    ]
    first = {**draw(box), "iscrowd": 0, "id": 99, "area": 40.0}  # something to score
    return {
        "info": {},
        "images": [{"id": i, "file_name": "a", "height": 600, "width": 600} for i in IMAGE_IDS],
        "annotations": [*annotations, first],
        "categories": [
            {"id": i, "name": name} for i, name in zip(CATEGORY_IDS, NAMES, strict=True)
        ],
    }


@st.composite
def detected(draw: st.DrawFn, annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects found, or other boxes, with few scores (ties); an object found after much noise."""
    boxes = st.one_of(st.sampled_from([a["bbox"] for a in annotations]), BOXES)
    detection = st.fixed_dictionaries(
        {
            "image_id": st.sampled_from(IMAGE_IDS),
            "category_id": st.sampled_from(CATEGORY_IDS),
            "bbox": boxes,
            "score": st.sampled_from((1.0, 0.75, 0.5, 0.25)),
        }
    )
    target = {name: annotations[-1][name] for name in ("image_id", "category_id", "bbox")}
    noise = {**target, "bbox": [0.0, 0.0, 0.25, 0.25], "score": 0.9}
    found = {**target, "score": 0.125}
    num_before = draw(st.sampled_from((0, 99, 100, 129, 130)))  # around both limits
    return [*draw(st.lists(detection, max_size=12)), *[noise] * num_before, found]


@pytest.mark.usefixtures("own_catalogs")
@pytest.mark.parametrize("fast", [False, True])
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_scores_are_those_of_pycocotools(data: st.DataObject, tmp_path: Path, fast: bool) -> None:
    if fast and not is_installed():
        pytest.skip("faster-coco-eval is not installed")
    annotations = data.draw(labelled())
    results = data.draw(detected(annotations["annotations"]))
    name = register_annotations(annotations, tmp_path)
    evaluator = build_coco_evaluator(name, str(tmp_path), fast=fast, kept=130)
    scores = evaluate(evaluator, annotations, results)["bbox"]
    written = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert len(written) == len(results)
    expected = pycocotools_scores(annotations, written)
    further = pycocotools_scores(annotations, written, limit=130)
    expected |= {f"{n}@130": v for n, v in further.items() if not n.startswith("AP-")}
    assert scores == pytest.approx(expected, abs=1e-9, nan_ok=True)
