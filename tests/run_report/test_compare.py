"""Runs are compared number by number; those that differ in their seed alone have a spread."""

import math
import statistics

import pytest

from dyhead.evaluation.run_folder import read_run_config
from dyhead.run_report.collect import collect_run
from dyhead.run_report.compare import compare


@pytest.fixture(scope="module")
def runs(make_run):
    """Three seeds, and a run with another learning rate and without curves."""
    folders = [make_run(f"seed{seed}", seed) for seed in (7, 8, 9)]
    folders.append(make_run("slow", 7, **{"SOLVER.BASE_LR": 0.5}))
    (folders[-1] / "metrics.json").unlink()
    return [collect_run(f.name, f, read_run_config(f), with_data=False) for f in folders]


def row(compared, label):
    return next(each for each in compared.rows if each.label == label)


def test_differences_are_from_the_first_run(runs):
    compared = compare(runs)
    assert list(compared.names) == ["seed7", "seed8", "seed9", "slow"]
    values = [run.evaluations["made_val"][1].scores.overall["AP"] for run in runs]
    assert row(compared, "AP").values == values
    assert row(compared, "AP").differences == [value - values[0] for value in values]
    assert values[3] == values[0] != values[1]


def test_what_a_run_lacks_is_not_a_number(runs):
    seconds = row(compare(runs), "seconds per training step")
    assert seconds.values[:3] == [0.5] * 3 and math.isnan(seconds.values[3])
    assert seconds.is_better == -1


def test_the_keys_that_differ_are_named_with_the_values_of_all(runs):
    keys = dict(compare(runs).keys)
    assert keys == {"SEED": [7, 8, 9, 7], "SOLVER.BASE_LR": [0.001, 0.001, 0.001, 0.5]}


def test_seeds_have_the_mean_and_the_deviation_of_a_sample(runs):
    compared = compare(runs)
    (group,) = compared.groups
    assert list(group.names) == ["seed7", "seed8", "seed9"]
    values = row(compared, "AP75").values[:3]
    spread = next(each for each in group.spreads if each.label == "AP75")
    assert spread.mean == pytest.approx(statistics.fmean(values))
    mean_square = sum((value - spread.mean) ** 2 for value in values) / 2
    assert spread.deviation == pytest.approx(math.sqrt(mean_square))
    assert (spread.low, spread.high) == (min(values), max(values))
