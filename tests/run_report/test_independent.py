"""Half of a report's numbers, drawn at random, are what other programs compute."""

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from dyhead.run_report import ReportSettings, write_report

pytestmark = pytest.mark.slow
Path = tuple[str | int, ...]
# tidecv rounds recalls that fall on one of the 101 places otherwise than pycocotools
TOLERANCES = {("errors", "false_negatives", "gain"): 0.1}


@pytest.fixture(scope="module")
def evaluation(make_run, labelled, tmp_path_factory) -> tuple[dict, dict]:
    """An evaluation of report.json, and the same by other programs."""
    for package in ("sklearn", "tidecv"):
        pytest.importorskip(package, reason='needs pip install "dyhead[check]"')
    from independent_measures import independent_evaluation

    folder = tmp_path_factory.mktemp("independent")
    truth = json.loads((labelled / "val.json").read_text())
    truth["annotations"] = [each for each in truth["annotations"] if not each["iscrowd"]]
    (folder / "val.json").write_text(json.dumps(truth))
    files = {"train": labelled / "train.json", "val": folder / "val.json"}
    sources = [[f"made_{part}", str(file), str(labelled)] for part, file in files.items()]
    run = make_run(**{"DATASETS.SOURCES": sources})
    write_report(ReportSettings([run], folder / "out", with_data=False))
    content = json.loads((folder / "out" / "report.json").read_text())
    results = json.loads((run / "inference" / "coco_instances_results.json").read_text())
    cost = json.loads((run / "inference" / "cost.json").read_text())
    measured = content["runs"][0]["evaluations"]["made_val"]
    return measured, independent_evaluation(truth, results, cost)


def leaves(content: Any, path: Path = ()) -> Iterator[tuple[Path, float]]:
    """Yield all numbers with their places; null is the number that cannot be computed."""
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield from leaves(value, (*path, key))
    elif not isinstance(content, str):
        yield path, math.nan if content is None else float(content)


def reference_of(path: Path, reference: Any) -> float:
    for number, key in enumerate(path, start=1):
        try:
            reference = reference[key]
        except (KeyError, IndexError):
            pytest.fail(f"no other program computes {path[:number]}: give it a reference")
    return float(reference)


def test_every_number_has_a_reference_and_every_reference_a_number(evaluation):
    measured, reference = evaluation
    places = dict(leaves(measured))
    assert len(places) > 500
    for path in places:
        reference_of(path, reference)
    assert set(places) == set(dict(leaves(reference)))


def test_half_of_the_numbers_are_those_of_other_programs(evaluation):
    measured, reference = evaluation
    seed = random.SystemRandom().randrange(2**32)
    numbers = list(leaves(measured))
    drawn = random.Random(seed).sample(numbers, len(numbers) // 2)
    print(f"seed {seed}: {len(drawn)} of {len(numbers)} numbers are compared")
    wrong = [
        f"{path}: {number}, elsewhere {other}"
        for path, number in drawn
        if (other := reference_of(path, reference))
        != pytest.approx(number, abs=TOLERANCES.get(path, 1e-6), rel=1e-9, nan_ok=True)
    ]
    assert not wrong, f"with seed {seed}: {wrong}"
