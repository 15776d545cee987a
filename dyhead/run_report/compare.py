"""Compares runs: their numbers side by side, their configs, and their spread over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dyhead.config.load import value_of
from dyhead.run_report.collect import RunReport
from dyhead.run_report.compared_rows import Row, compared_rows, other_devices
from dyhead.run_report.config_difference import compare_configs
from dyhead.run_report.data_of_runs import DataOfRuns, read_data
from dyhead.run_report.seed_groups import SeedGroup, seed_groups


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        names: of the runs.
        rows: their numbers.
        keys: config keys in which they differ, with the values of all.
        groups: runs that differ in their seed alone.
        doubts: sentences on what does not compare, and why.
        data: that they were trained and tested on.
    """

    names: Sequence[str]
    rows: Sequence[Row]
    keys: Sequence[tuple[str, Sequence[Any]]]
    groups: Sequence[SeedGroup]
    doubts: Sequence[str]
    data: DataOfRuns


def compare(runs: Sequence[RunReport]) -> Comparison:
    """Compare runs; differences are from the first one."""
    data = read_data(runs)
    rows = compared_rows(runs, data)
    groups, repeated = seed_groups(runs, rows)
    trained = [index for index, run in enumerate(runs) if run.log is not None]
    doubts = [*data.differences(trained), *other_devices(runs, data), *repeated]
    return Comparison(data.names, rows, _differing_keys(runs), groups, doubts, data)


def _differing_keys(runs: Sequence[RunReport]) -> list[tuple[str, list[Any]]]:
    first = runs[0].cfg
    names = dict.fromkeys(
        name for run in runs[1:] for name, _, _ in compare_configs(first, run.cfg)
    )
    return [(name, [value_of(run.cfg, name) for run in runs]) for name in names]
