"""Writes a report on data sets as one page of HTML that needs nothing beside itself."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dyhead import __version__
from dyhead.data.checks import CheckReport, Item, Kind
from dyhead.data.checks.file_names import leads_outside
from dyhead.data_report.charts import all_charts
from dyhead.data_report.collect import CheckedSource, DataReport, DrawnBatch, worst_pictures
from dyhead.data_report.crops import draw_crop
from dyhead.data_report.text import verdict
from dyhead.pages import as_data_uri, render_page
from dyhead.picture_files import read_rgb

_MAX_CROPS = 6  # of each kind
_MAX_ITEMS = 50  # that are named
_READERS = 4  # threads


def format_page(report: DataReport) -> str:
    """Write the page.

    Pictures stand in it as JPEGs of a few kilobytes, at most six for each kind of problem.
    """
    sources = [_source(source, index) for index, source in enumerate(report.sources)]
    between = _findings(report.between, None, "between")
    return render_page(
        "dyhead.data_report",
        verdict=verdict(report),
        faults=report.count(is_fault=True),
        version=__version__,
        sources=sources,
        between=between,
        charts=[chart for chart in all_charts(report) if chart.rows],
        batches=[_batch(batch) for batch in report.batches],
        refusal=report.refusal,
        sections=list(_sections(sources, bool(between), bool(report.batches or report.refusal))),
    )


def _source(source: CheckedSource, index: int) -> dict[str, Any]:
    root, counted = source.source.image_root, source.statistics
    faults = sum(n for kind, n in source.report.counts.items() if kind.is_fault)
    return {
        "role": source.role,
        "name": source.source.path.name,
        "anchor": f"source-{index}",
        "facts": [
            ("path", source.source.path),
            ("kind", source.source.kind),
            ("images in", root),
            ("usable images", counted.images),
            ("usable boxes", counted.boxes),
            ("crowds", counted.crowds),
            ("classes", len(counted.classes)),
            ("faults", faults),
        ],
        "findings": _findings(source.report, root, f"source-{index}"),
        "worst": _worst(source),
    }


def _findings(report: CheckReport, root: Path | None, anchor: str) -> list[dict[str, Any]]:
    """Describe the faults, then the notes."""
    found = sorted(report.findings, key=lambda kind: not kind.is_fault)
    return [_finding(kind, report, root, anchor) for kind in found]


def _finding(kind: Kind, report: CheckReport, root: Path | None, anchor: str) -> dict[str, Any]:
    items = report.findings[kind]
    with ThreadPoolExecutor(_READERS) as pool:
        pictures = [each for each in pool.map(lambda item: _show(item, root), items[:_MAX_CROPS])]
    return {
        "kind": kind,
        "count": report.count(kind),
        "evidence": report.evidence.get(kind, ""),
        "anchor": f"{anchor}-{kind.name}",
        "named": [item.description for item in items[:_MAX_ITEMS]],
        "pictures": [each for each in pictures if each["images"]],
        "is_pair": any(item.pictures for item in items),
    }


def _show(item: Item, root: Path | None) -> dict[str, Any]:
    """Cut out an item's box, or show its pictures as far as they can be read."""
    if item.pictures:
        paths = list(item.pictures)
    else:
        is_there = root is not None and item.file_name and not leads_outside(item.file_name, root)
        paths = [root / item.file_name] if root is not None and is_there else []
    boxes = [] if item.box is None else [item.box]
    read = [picture for path in paths if (picture := read_rgb(path)) is not None]
    images = [as_data_uri(draw_crop(picture, boxes)) for picture in read]
    return {"images": images, "caption": item.description}


def _worst(source: CheckedSource) -> list[dict[str, Any]]:
    """Draw the pictures with the most faults whole, with the boxes that are remembered."""
    drawn = []
    for name, count in worst_pictures(source):
        root = source.source.image_root
        picture = None if leads_outside(name, root) else read_rgb(root / name)
        faults = [
            (kind, item)
            for kind, items in source.report.findings.items()
            for item in items
            if item.file_name == name and kind.is_fault
        ]
        boxes = [item.box for _, item in faults if item.box is not None]
        problems = ", ".join(dict.fromkeys(kind.problem for kind, _ in faults))
        caption = f"{name}: {count}" + (f" ({problems})" if problems else "")
        shown = [] if picture is None else [as_data_uri(draw_crop(picture, boxes, whole=True))]
        drawn.append({"images": shown, "caption": caption})
    return drawn


def _batch(batch: DrawnBatch) -> list[dict[str, Any]]:
    return [
        {"images": [as_data_uri(picture)], "caption": caption}
        for caption, picture in batch.pictures
    ]


def _sections(
    sources: Sequence[dict[str, Any]], between: bool, batches: bool
) -> Iterator[tuple[str, str]]:
    for source in sources:
        if source["findings"]:
            yield source["anchor"], f"Found in {source['role']}"
    if between:
        yield "between", "Pictures that are alike"
    yield "content", "What the data is made of"
    for source in sources:
        if source["worst"]:
            yield f"worst-{source['anchor']}", f"Worst pictures of {source['role']}"
    if batches:
        yield "batches", "What the model sees"
