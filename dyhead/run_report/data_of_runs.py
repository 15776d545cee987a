"""Tells which of some runs were trained, and which were tested, on the same data."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dyhead.run_report.collect import RunReport
from dyhead.run_report.named_data import NamedData, difference, named_data
from dyhead.run_report.tested_data import TestedData, labelled_data


@dataclass(frozen=True)
class DataOfRuns:
    """The data that runs were trained and tested on.

    Attributes:
        names: of the runs.
        trained: of each run, the sets of DATASETS.TRAIN.
        tested: of each run by the name of a set of DATASETS.TEST, None where it was not evaluated.
        named: of each run the same sets, as its config names them.
    """

    names: Sequence[str]
    trained: Sequence[tuple[NamedData, ...]]
    tested: Sequence[dict[str, TestedData | None]]
    named: Sequence[dict[str, tuple[NamedData, ...]]]

    @property
    def test_sets(self) -> list[str]:
        """The names of all sets that runs are tested on."""
        return list(dict.fromkeys(name for sets in self.named for name in sets))

    @property
    def evaluated_sets(self) -> list[str]:
        """The names of those that at least one run was evaluated on."""
        return [name for name in self.test_sets if any(self.tested_on(name))]

    def tested_on(self, dataset: str) -> list[TestedData | None]:
        """Return what every run was evaluated on under this name."""
        return [sets.get(dataset) for sets in self.tested]

    def trained_alike(self, members: Sequence[int]) -> list[list[int]]:
        """Group indices of runs by the data that they were trained on."""
        return _groups(members, lambda i, j: self.trained[i] == self.trained[j])

    def tested_alike(self, dataset: str, members: Sequence[int]) -> list[list[int]]:
        """Group indices of runs by the data that has this name, those without such a set left out.

        Where one of two was not evaluated, their configs tell if it is the same.
        """

        def is_same(first: int, second: int) -> bool:
            one, other = self.tested[first][dataset], self.tested[second][dataset]
            if one is None or other is None:
                return self.named[first][dataset] == self.named[second][dataset]
            return one == other

        return _groups([i for i in members if dataset in self.named[i]], is_same)

    def differences(self, members: Sequence[int]) -> Iterator[str]:
        """Say in sentences which of the runs do not compare for their data, and why.

        Args:
            members: indices of those with a training.
        """
        for dataset in self.evaluated_sets:
            known = [(i, data) for i, data in enumerate(self.tested_on(dataset)) if data]
            (first, data), *others = known
            for index, other in others:
                if reason := data.difference(other):
                    yield (
                        f"{dataset} of {self.names[index]} is not the data that it is in"
                        f" {self.names[first]} ({reason}): their numbers on it do not compare."
                    )
        for index in members[1:]:
            if reason := difference(self.trained[members[0]], self.trained[index]):
                yield (
                    f"{self.names[index]} was trained on other data than {self.names[members[0]]}"
                    f" ({reason}): their losses and seconds per training step do not compare."
                )


def read_data(runs: Sequence[RunReport]) -> DataOfRuns:
    """Describe the data of runs; their label files are read."""
    return DataOfRuns(
        [run.name for run in runs],
        [named_data(run.cfg, run.cfg.DATASETS.TRAIN) for run in runs],
        [{name: _tested(run, name) for name in run.cfg.DATASETS.TEST} for run in runs],
        [{name: named_data(run.cfg, [name]) for name in run.cfg.DATASETS.TEST} for run in runs],
    )


def _tested(run: RunReport, dataset: str) -> TestedData | None:
    read = run.evaluations.get(dataset)
    return None if read is None else labelled_data(read[0].truth)


def _groups(members: Sequence[int], is_same: Callable[[int, int], bool]) -> list[list[int]]:
    """Put each index to the first group whose first index is the same, or into a new one."""
    groups: list[list[int]] = []
    for index in members:
        group = next((each for each in groups if is_same(each[0], index)), None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups
