"""Bar charts of what data sets are made of, a bar for each source in every row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dyhead.data_report.collect import DataReport
from dyhead.data_report.pyramid import Pyramid
from dyhead.data_report.statistics import Histogram
from dyhead.data_report.text import class_names, share

_MAX_ROWS = 30  # of classes that are shown at once


@dataclass(frozen=True)
class Bar:
    """A bar: what it counts, its length as a percentage of the chart's longest, and its text."""

    count: int
    percent: float
    text: str


@dataclass(frozen=True)
class Row:
    """A label, and a bar for each source."""

    label: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Chart:
    """Rows under a title; `more` are shown on demand."""

    title: str
    text: str
    rows: Sequence[Row]
    more: Sequence[Row] = field(default_factory=list)


def all_charts(report: DataReport) -> Iterator[Chart]:
    """Draw the classes, then sizes, shapes and numbers of boxes."""
    yield _classes(report)
    sources, pyramid = report.sources, report.pyramid
    resized = f"after resizing to a shorter side of {pyramid.min_size} pixels"
    yield _chart(
        "Boxes by level of the pyramid", _describe(pyramid), [s.levels.levels for s in sources]
    )
    yield _chart(
        "Boxes by size",
        f"side of the square of their area, pixels {resized}",
        [s.levels.sides for s in sources],
    )
    yield _chart("Boxes by shape", "width to height", [s.statistics.ratios for s in sources])
    yield _chart(
        "Pictures by number of boxes",
        "crowds are not counted",
        [s.statistics.objects for s in sources],
    )


def _classes(report: DataReport) -> Chart:
    counts = [{c.name: c.boxes for c in source.statistics.classes} for source in report.sources]
    rows = _rows(class_names(report.sources), counts)
    text = "share of all boxes of the source; the most frequent class first"
    return Chart("Boxes by class", text, rows[:_MAX_ROWS], rows[_MAX_ROWS:])


def _chart(title: str, text: str, histograms: Sequence[Histogram]) -> Chart:
    labels = histograms[0].labels
    counts = [dict(zip(labels, each.counts, strict=True)) for each in histograms]
    used = [i for i, label in enumerate(labels) if any(each[label] for each in counts)]
    shown = labels[min(used) : max(used) + 1] if used else []  # no gaps within
    return Chart(title, text, _rows(shown, counts))


def _rows(labels: Sequence[str], counts: Sequence[Mapping[str, int]]) -> list[Row]:
    """Make bars whose lengths are shares of their source, so that sources compare."""
    totals = [max(sum(each.values()), 1) for each in counts]
    longest = max(
        (n / total for each, total in zip(counts, totals, strict=True) for n in each.values()),
        default=0,
    )
    return [
        Row(
            label,
            [
                _bar(each.get(label, 0), total, longest or 1)
                for each, total in zip(counts, totals, strict=True)
            ],
        )
        for label in labels
    ]


def _bar(count: int, total: int, longest: float) -> Bar:
    return Bar(count, 100 * count / total / longest, f"{count:,} ({share(count, total)})")


def _describe(pyramid: Pyramid) -> str:
    levels = "; ".join(
        f"{level.name}: stride {level.stride}, objects around {level.object_side:.0f} pixels"
        for level in pyramid.levels
    )
    return f"{pyramid.config}, pictures with a shorter side of {pyramid.min_size} pixels. {levels}"
