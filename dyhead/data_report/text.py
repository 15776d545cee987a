"""Writes a report on data sets as text for a terminal."""

import textwrap
from collections.abc import Iterator, Sequence

from dyhead.data.checks import CheckReport, Kind
from dyhead.data.checks.report import MAX_NAMED
from dyhead.data_report.collect import CheckedSource, DataReport, worst_pictures
from dyhead.data_report.statistics import Histogram
from dyhead.pages import printable

_WIDTH = 100
_MAX_CLASSES = 20  # rows; the page has them all


def format_report(report: DataReport) -> str:
    """Write all but the pictures of a report."""
    lines: list[str] = []
    for source in report.sources:
        lines += [*_describe_source(source), *_findings(source.report), ""]
    if report.between.findings:
        lines += [report.between.source, *_findings(report.between), ""]
    lines += [*_classes(report.sources), "", *_sizes(report), "", *_worst(report.sources)]
    if report.refusal:
        lines += [f"A training gives no batches: {report.refusal}", ""]
    return printable("\n".join([*lines, verdict(report)]))


def verdict(report: DataReport) -> str:
    """Say in one sentence how much was found."""
    parts = [
        f"{_count(number, noun)} of {_count(len(report.kinds(is_fault)), 'kind')}"
        for noun, is_fault in (("fault", True), ("note", False))
        if (number := report.count(is_fault))
    ]
    if not parts:
        return "Nothing found."
    prefix = "" if report.count(True) else "No faults, "
    return prefix + ", ".join(parts) + "."


def share(part: int, whole: int) -> str:
    """Write a part as a percentage; what is there is never called 0%."""
    percent = 100 * part / max(whole, 1)
    return f"{percent:.0f}%" if percent >= 1 or not part else "<1%"


def _describe_source(source: CheckedSource) -> list[str]:
    counted = source.statistics
    crowds = f" and {_count(counted.crowds, 'crowd')}" if counted.crowds else ""
    return [
        f"{source.role}: {source.source.path} ({source.source.kind}, images in"
        f" {source.source.image_root})",
        f"  usable: {_count(counted.images, 'image')}, {_count(counted.boxes, 'box')}{crowds} of"
        f" {_count(len(counted.classes), 'class')}",
    ]


def _findings(report: CheckReport) -> Iterator[str]:
    """Write the faults, then the notes."""
    for kind, items in sorted(report.findings.items(), key=lambda found: not found[0].is_fault):
        yield from _wrapped(f"  {_mark(kind)} {report.count(kind)} x {kind}")
        if kind in report.evidence:
            yield from _wrapped(f"      {report.evidence[kind]}")
        yield from _wrapped(f"      {kind.advice}")
        yield from (f"      - {item.description}" for item in items[:MAX_NAMED])
        if report.count(kind) > MAX_NAMED:
            yield f"      - ... and {report.count(kind) - MAX_NAMED} more"


def _mark(kind: Kind) -> str:
    return "fault:" if kind.is_fault else "note: "


def _classes(sources: Sequence[CheckedSource]) -> list[str]:
    """Write boxes and pictures of every class, the most frequent first."""
    names = class_names(sources)
    counts = [{each.name: each for each in source.statistics.classes} for source in sources]
    rows = [
        [name, *(f"{c[name].boxes} in {c[name].images}" if name in c else "absent" for c in counts)]
        for name in names[:_MAX_CLASSES]
    ]
    header = ["boxes of a class, in pictures", *(source.role for source in sources)]
    more = [f"  ... and {len(names) - _MAX_CLASSES} more"] if len(names) > _MAX_CLASSES else []
    return [*_table([header, *rows]), *more]


def class_names(sources: Sequence[CheckedSource]) -> list[str]:
    """Return the names of all classes, those with the most boxes of the first source first."""
    first = sorted(sources[0].statistics.classes, key=lambda each: -each.boxes)
    others = [each.name for source in sources[1:] for each in source.statistics.classes]
    return list(dict.fromkeys([*(each.name for each in first), *others]))


def _sizes(report: DataReport) -> Iterator[str]:
    pyramid, sources = report.pyramid, report.sources
    yield (
        f"boxes by the level of {pyramid.config} that suits them (pictures with a shorter side of"
        f" {pyramid.min_size} pixels)"
    )
    yield from _histograms([source.levels.levels for source in sources])
    for title, some in (
        ("boxes by width over height", [source.statistics.ratios for source in sources]),
        ("pictures by number of boxes", [source.statistics.objects for source in sources]),
    ):
        yield from ("", title, *_histograms(some))


def _histograms(some: Sequence[Histogram]) -> list[str]:
    """Write bins that are not empty, side by side."""
    totals = [sum(each.counts) for each in some]
    rows = [
        [
            label,
            *(
                f"{each.counts[i]} ({share(each.counts[i], totals[j])})"
                for j, each in enumerate(some)
            ),
        ]
        for i, label in enumerate(some[0].labels)
        if any(each.counts[i] for each in some)
    ]
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]


def _worst(sources: Sequence[CheckedSource]) -> Iterator[str]:
    for source in sources:
        if worst := worst_pictures(source):
            yield f"pictures of {source.role} with the most faults"
            yield from _table([[name, str(count)] for name, count in worst])
            yield ""


def _wrapped(text: str) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent + "  ", break_long_words=False)


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}es" if noun.endswith(("s", "x")) else f"{number} {noun}s"
