"""Says in ten lines what a run's data is made of, and what is wrong with it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from dyhead.d2.config import CfgNode
from dyhead.data.checks import CheckReport
from dyhead.data_report.collect import CheckedSource, check_source, compare_classes
from dyhead.data_report.configured import configured_sources
from dyhead.data_report.pyramid import Pyramid, read_pyramid
from dyhead.data_report.text import share

MAX_LINES = 10
_MAX_NAMED = 3  # kinds of problems, classes


def describe_data(cfg: CfgNode) -> list[str]:
    """Describe the data sets of a config in at most ten lines, the files looked at once each.

    Raises:
        UserError: a data set cannot be read.
    """
    cfg = cfg.clone()
    cfg.defrost()
    pyramid = read_pyramid("the run's config", cfg)
    sources = [check_source(named, pyramid, cfg) for named in configured_sources(cfg)]
    compare_classes(sources)
    lines = [*_sets(sources), *_balance(sources), *_sizes(sources, pyramid)]
    if len(lines) > MAX_LINES:
        more = len(lines) - MAX_LINES + 1
        lines = [*lines[: MAX_LINES - 1], f"And {more} more lines: `dyhead check` has them all."]
    return lines


def _sets(sources: Sequence[CheckedSource]) -> Iterator[str]:
    """Describe each set by a line: what it is made of, and what is wrong with it."""
    for source in sources:
        counted = source.statistics
        crowds = f", {counted.crowds:,} crowds" if counted.crowds else ""
        yield (
            f"{source.role}: {counted.images:,} pictures, {counted.boxes:,} boxes{crowds},"
            f" {len(counted.classes)} classes ({source.source.kind}); {_problems(source.report)}."
        )


def _problems(report: CheckReport) -> str:
    if not report.counts:
        return "labels without faults"
    faults = sum(count for kind, count in report.counts.items() if kind.is_fault)
    number = "no faults" if not faults else "1 fault" if faults == 1 else f"{faults:,} faults"
    return f"{number}; found: {_kinds(report)}"


def _kinds(report: CheckReport) -> str:
    ordered = sorted(report.counts.items(), key=lambda item: (not item[0].is_fault, -item[1]))
    named = [f"{count:,} x {kind.problem}" for kind, count in ordered[:_MAX_NAMED]]
    more = len(ordered) - len(named)
    return "; ".join(named) + (f"; and {more} more kinds" if more else "")


def _balance(sources: Sequence[CheckedSource]) -> Iterator[str]:
    training = _described_together(sources)
    boxes = Counter[str]()
    for source in training:
        boxes.update({each.name: each.boxes for each in source.statistics.classes})
    if len(boxes) > 1:
        (most, number_of_most), *_, (rarest, number_of_rarest) = boxes.most_common()
        total = boxes.total()
        yield (
            f"Of the boxes of {_roles(training)}, {share(number_of_most, total)} are {most} and"
            f" {share(number_of_rarest, total)} {rarest}, the rarest."
        )
    seen = {name for name, number in boxes.items() if number}
    for source in sources if training[0].is_for_training else ():
        unseen = [c.name for c in source.statistics.classes if c.boxes and c.name not in seen]
        if unseen:
            names = ", ".join(unseen[:_MAX_NAMED])
            yield f"{source.role} has classes that training has no box of: {names}."


def _sizes(sources: Sequence[CheckedSource], pyramid: Pyramid) -> Iterator[str]:
    training = _described_together(sources)
    of_sets = [source.levels.levels.counts for source in training]
    counts = [sum(of_level) for of_level in zip(*of_sets, strict=True)]
    shares = ", ".join(
        f"{level.name} {share(count, sum(counts))}"
        for level, count in zip(pyramid.levels, counts, strict=True)
    )
    yield (
        f"Boxes of {_roles(training)} by the level of the pyramid that suits their size: {shares}."
    )
    if small := sum(len(source.levels.below_stride) for source in training):
        stride = pyramid.levels[0].stride
        yield f"{small:,} of them are smaller than the finest stride of {stride} pixels."


def _described_together(sources: Sequence[CheckedSource]) -> Sequence[CheckedSource]:
    """Return the sets to train on, or the first one where a config names none of them."""
    return [source for source in sources if source.is_for_training] or sources[:1]


def _roles(sources: Sequence[CheckedSource]) -> str:
    names = [source.role for source in sources]
    if len(names) > _MAX_NAMED:
        return f"the {len(names)} training sets together"
    *others, last = names
    return f"{', '.join(others)} and {last} together" if others else last


def unreadable(error: Exception) -> str:
    """Say in a sentence why the data could not be looked at."""
    reason = str(error).partition("\n")[0]
    return f"The data could not be looked at ({reason}): `dyhead check` says more."
