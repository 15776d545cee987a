"""Finds runs that differ in their seed alone, and how far their numbers spread."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dyhead.run_report.collect import RunReport
from dyhead.run_report.compared_rows import Row
from dyhead.run_report.config_difference import compare_configs

_OF_A_SEED = {"SEED"}


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation and range of one number over seeds.

    Attributes:
        number: of the runs that have it.
    """

    label: str
    mean: float
    deviation: float
    low: float
    high: float
    digits: int
    number: int


@dataclass(frozen=True)
class SeedGroup:
    """Runs whose configs differ in their seed alone, and the spread of their numbers."""

    names: Sequence[str]
    spreads: Sequence[Spread]


def seed_groups(
    runs: Sequence[RunReport], rows: Sequence[Row]
) -> tuple[list[SeedGroup], list[str]]:
    """Group runs, each seed once: a copy of a run says nothing of the spread over seeds.

    A negative SEED stands for another seed each time: only runs of the same curves have the same.

    Args:
        runs: at least one.
        rows: their numbers; those with unequal bases within a group have no spread.

    Returns:
        the groups of at least two, and a sentence on each run that repeats another one's SEED.
    """
    groups, sentences = [], []
    for alike in _same_but_for_seed(runs):
        counted: list[int] = []
        for index in alike:
            run = runs[index]
            same = next((runs[i] for i in counted if _has_same_seed(runs[i], run)), None)
            if same is None:
                counted.append(index)
                continue
            sentences.append(
                f"The config of {run.name} is that of {same.name}, SEED {run.cfg.SEED} included:"
                " it does not count as another seed."
            )
        if len(counted) > 1:
            groups.append(_group(counted, runs, rows))
    return groups, sentences


def _has_same_seed(first: RunReport, second: RunReport) -> bool:
    """Tell if two runs whose configs say the same, but for the seed, were trained with one seed."""
    same = first.cfg.SEED == second.cfg.SEED
    return bool(same and (first.cfg.SEED >= 0 or first.log == second.log))


def _same_but_for_seed(runs: Sequence[RunReport]) -> list[list[int]]:
    """Group the indices of runs whose configs say the same, but for the seed."""
    groups: list[list[int]] = []
    for index, run in enumerate(runs):
        for group in groups:
            found = {name for name, _, _ in compare_configs(runs[group[0]].cfg, run.cfg)}
            if found <= _OF_A_SEED:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _group(members: Sequence[int], runs: Sequence[RunReport], rows: Sequence[Row]) -> SeedGroup:
    spreads = []
    for row in rows:
        known = [index for index in members if math.isfinite(row.values[index])]
        values = [row.values[index] for index in known]
        if len(values) > 1 and all(row.bases[i] == row.bases[known[0]] for i in known):
            mean, deviation = statistics.mean(values), statistics.stdev(values)
            number, low, high = len(values), min(values), max(values)
            spreads.append(Spread(row.label, mean, deviation, low, high, row.digits, number))
    return SeedGroup([runs[i].name for i in members], spreads)
