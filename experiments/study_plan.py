"""The runs of the study and their order: seed after seed, comparison after comparison."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from comparisons import PLAIN_ATSS, Row, Table, Variant
from data_sets import DataSet

from dyhead.config import load_config
from dyhead.config.load import leaf_keys, value_of
from dyhead.errors import UserError
from dyhead.layers import BlockOptions

CONFIGS = Path(__file__).parent / "configs"
EQUAL = ("minutes", "steps", "multiply-adds")
# Keys that say where things are: a run is known by its data set's name and annotations, and its
# result tells the device.
PLACES = ("OUTPUT_DIR", "DATASETS.SOURCES", "MODEL.DEVICE")
# Keys that change nothing in a detector without blocks.
OF_BLOCKS = (
    "SOLVER.DYHEAD_LR_FACTOR",
    "SOLVER.OFFSET_LR_FACTOR",
    *(f"MODEL.DYHEAD.{option.name.upper()}" for option in dataclasses.fields(BlockOptions)),
)


@dataclass(frozen=True)
class Run:
    """One training and its evaluation; two are equal where they train the same.

    Attributes:
        title: the detector's, for people.
        data: the data set's name.
        config: its file.
        options: overrides.
        seed: of the training.
        key: a hash of the whole config without the seed and the paths.
        annotations: a digest of those of the data set, see `DataSet`.
        num_classes: of the data set.
    """

    title: str = field(compare=False)
    data: str
    config: Path = field(compare=False)
    options: tuple[str, ...] = field(compare=False)
    seed: int
    key: str
    annotations: str
    num_classes: int = field(compare=False, default=0)

    @property
    def name(self) -> str:
        """The name of its folder below the output folder, and in the results."""
        parts = (self.data, self.config.stem, self.key, self.annotations, f"seed{self.seed}")
        return "-".join(filter(None, parts))

    @property
    def label(self) -> str:
        """Its name for people, with its data and seed."""
        return f"{self.data}: {self.title}, seed {self.seed}"


@dataclass(frozen=True)
class Entry:
    """A row's run on one data set with one seed, and that of the row's baseline."""

    table: Table
    row: Row
    run: Run
    baseline: Run | None

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that say nothing without each other."""
        return (self.run,) if self.baseline is None else (self.baseline, self.run)


@dataclass(frozen=True)
class Length:
    """The length of every training.

    Attributes:
        equal: what the trainings have in common, of `EQUAL`.
        minutes: of wall clock, where these are equal.
        steps: where these are equal; where multiply-adds are, the steps of ATSS without DyHead.
        multiply_adds: counts those of a detector of so many classes for one image; called only
            where they are equal.
    """

    equal: str
    minutes: float
    steps: int
    multiply_adds: Callable[[Variant, int], float]

    def options(self, variant: Variant, num_classes: int) -> tuple[str, ...]:
        """Return the overrides that give a detector of so many classes its length."""
        if self.equal == "minutes":
            return ("SOLVER.MINUTES", f"{self.minutes:g}")
        steps = float(self.steps)
        if self.equal == "multiply-adds":
            plain, own = (self.multiply_adds(each, num_classes) for each in (PLAIN_ATSS, variant))
            steps *= plain / own
        return ("SOLVER.MINUTES", "0", "SOLVER.MAX_ITER", str(max(1, round(steps))))


def make_plan(
    tables: Sequence[Table],
    data_sets: Sequence[DataSet],
    seeds: Sequence[int],
    length: Length,
    options: Sequence[str] = (),
) -> list[Entry]:
    """List the runs in such an order that its beginning holds whole comparisons.

    Args:
        tables: in order of value.
        data_sets: every row is trained on each.
        seeds: the first one of all comes before the second one of any.
        length: of every training.
        options: overrides of all runs.
    """

    def make_run(variant: Variant, data: DataSet, seed: int) -> Run:
        config = config_file(variant)
        of_length = length.options(variant, data.num_classes)
        all_options = (*of_length, *variant.options, *data.options, *options)
        return Run(
            variant.title,
            data.name,
            config,
            all_options,
            seed,
            _planned_fingerprint(config, all_options),
            data.annotations,
            data.num_classes,
        )

    return [
        Entry(
            table,
            row,
            make_run(row.variant, data, seed),
            make_run(row.baseline, data, seed) if row.baseline else None,
        )
        for seed, table in product(seeds, tables)
        for row, data in product(table.rows, data_sets)
    ]


def config_file(variant: Variant) -> Path:
    """Return the path of a detector's config."""
    return CONFIGS / f"{variant.config}.yaml"


def fingerprint(config: Path, options: tuple[str, ...]) -> str:
    """Hash all keys of a config that are not at their defaults.

    The device and the paths of results and data do not count, so that another machine goes on from
    what is written, nor do keys of blocks or of multi-scale testing where there is none. A run of
    the same fingerprint, annotations and seed counts as the same: neither the code nor PyTorch is
    compared, whose commit and version each result tells. Keys that the project gets later, with
    defaults that change nothing, leave it as it is.
    """
    cfg, default = load_config(config, options)[0], load_config("")[0]
    default.SOLVER.WEIGHT_DECAY_NORM = 0.0  # as it was when the first results were written
    without = {*PLACES, *(() if cfg.MODEL.DYHEAD.NUM_CONVS else OF_BLOCKS)}
    if not cfg.TEST.AUG.ENABLED:
        without |= {key for key in leaf_keys(cfg) if key.startswith("TEST.AUG.")}
    values = {key: value_of(cfg, key) for key in sorted(leaf_keys(cfg)) if key not in without}
    changed = {key: value for key, value in values.items() if value != value_of(default, key)}
    return hashlib.sha256(json.dumps(changed).encode()).hexdigest()[:10]


# One key for all seeds and plans of a call, also if the file is changed between them.
_planned_fingerprint = functools.cache(fingerprint)


def changed_config(config: Path, options: tuple[str, ...], key: str) -> str:
    """Say that a config no longer has the fingerprint `key` that it was planned with, or ""."""
    try:
        if fingerprint(config, options) == key:
            return ""
    except UserError as error:
        return str(error)
    return (
        f"{config} or a config that it stands on was changed since this call began: call it again"
        " to train what it is now"
    )


def unique_runs(plan: Sequence[Entry]) -> list[Run]:
    """List the runs of a plan in its order, each once."""
    return list(dict.fromkeys(run for entry in plan for run in entry.runs))
