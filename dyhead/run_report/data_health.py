"""Says in ten lines what a run's data is made of, and what is wrong with it."""

from collections.abc import Iterator, Sequence

from dyhead.d2.config import CfgNode
from dyhead.data.checks import CheckReport
from dyhead.data_report.collect import CheckedSource, check_source, compare_classes
from dyhead.data_report.configured import configured_sources
from dyhead.data_report.pyramid import Pyramid, read_pyramid
from dyhead.data_report.text import share
from dyhead.errors import UserError

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
    lines = [*_counts(sources), *_problems(sources), *_balance(sources), *_sizes(sources, pyramid)]
    if len(lines) > MAX_LINES:
        more = len(lines) - MAX_LINES + 1
        lines = [*lines[: MAX_LINES - 1], f"And {more} more lines: `dyhead check` has them all."]
    return lines


def _counts(sources: Sequence[CheckedSource]) -> Iterator[str]:
    for source in sources:
        counted = source.statistics
        crowds = f", {counted.crowds:,} crowds" if counted.crowds else ""
        yield (
            f"{source.role}: {counted.images:,} pictures, {counted.boxes:,} boxes{crowds},"
            f" {len(counted.classes)} classes ({source.source.kind})"
        )


def _problems(sources: Sequence[CheckedSource]) -> Iterator[str]:
    for source in sources:
        report = source.report
        faults = sum(count for kind, count in report.counts.items() if kind.is_fault)
        if report.counts:
            number = (
                "No faults" if not faults else "1 fault" if faults == 1 else f"{faults:,} faults"
            )
            yield f"{number} in {source.role}; found: {_kinds(report)}."
        else:
            yield f"{source.role} is sound."


def _kinds(report: CheckReport) -> str:
    ordered = sorted(report.counts.items(), key=lambda item: (not item[0].is_fault, -item[1]))
    named = [f"{count:,} x {kind.problem}" for kind, count in ordered[:_MAX_NAMED]]
    more = len(ordered) - len(named)
    return "; ".join(named) + (f"; and {more} more kinds" if more else "")


def _balance(sources: Sequence[CheckedSource]) -> Iterator[str]:
    classes = sorted(sources[0].statistics.classes, key=lambda each: each.boxes)
    total = sum(each.boxes for each in classes)
    if len(classes) > 1:
        rarest, most = classes[0], classes[-1]
        yield (
            f"Of the boxes of {sources[0].role}, {share(most.boxes, total)} are {most.name} and"
            f" {share(rarest.boxes, total)} {rarest.name}, the rarest."
        )
    training = [source for source in sources if source.is_for_training]
    seen = {c.name for source in training for c in source.statistics.classes if c.boxes}
    for source in sources if training else ():
        unseen = [c.name for c in source.statistics.classes if c.boxes and c.name not in seen]
        if unseen:
            names = ", ".join(unseen[:_MAX_NAMED])
            yield f"{source.role} has classes that training has no box of: {names}."


def _sizes(sources: Sequence[CheckedSource], pyramid: Pyramid) -> Iterator[str]:
    levels = sources[0].levels
    total = sum(levels.levels.counts)
    shares = ", ".join(
        f"{level.name} {share(count, total)}"
        for level, count in zip(pyramid.levels, levels.levels.counts, strict=True)
    )
    role = sources[0].role
    yield f"Boxes of {role} by the level of the pyramid that suits their size: {shares}."
    if small := len(levels.below_stride):
        stride = pyramid.levels[0].stride
        yield f"{small:,} of them are smaller than the finest stride of {stride} pixels."


def unreadable(error: UserError) -> str:
    """Say in a sentence why the data could not be looked at."""
    reason = str(error).partition("\n")[0]
    return f"The data could not be looked at ({reason}): `dyhead check` says more."
