"""Writes a report on data sets as strict JSON; docs/data.md describes the keys."""

from typing import Any

from dyhead import __version__
from dyhead.data.checks import CheckReport, Item, Kind
from dyhead.data_report.collect import CheckedSource, DataReport, worst_pictures
from dyhead.data_report.pyramid import Pyramid
from dyhead.data_report.statistics import Histogram

FORMAT = 1  # raised where a key changes its meaning or goes; new keys do not raise it


def report_as_dict(report: DataReport) -> dict[str, Any]:
    """Return the report as what `json.dumps` takes with allow_nan=False."""
    return {
        "format": FORMAT,
        "dyhead": __version__,
        "faults": report.count(is_fault=True),
        "notes": report.count(is_fault=False),
        "pyramid": _pyramid(report.pyramid),
        "sources": [_source(source) for source in report.sources],
        "between": _findings(report.between),
    }


def _source(source: CheckedSource) -> dict[str, Any]:
    counted = source.statistics
    return {
        "role": source.role,
        "path": str(source.source.path),
        "kind": source.source.kind,
        "image_root": str(source.source.image_root),
        "images": counted.images,
        "boxes": counted.boxes,
        "crowds": counted.crowds,
        "findings": _findings(source.report),
        "classes": [
            {"name": each.name, "boxes": each.boxes, "images": each.images}
            for each in counted.classes
        ],
        "box_sides": _histogram(source.levels.sides),
        "levels": _histogram(source.levels.levels),
        "aspect_ratios": _histogram(counted.ratios),
        "objects_per_image": _histogram(counted.objects),
        "worst_images": [
            {"file_name": name, "faults": count} for name, count in worst_pictures(source)
        ],
    }


def _findings(report: CheckReport) -> list[dict[str, Any]]:
    return [_finding(kind, report) for kind in report.findings]


def _finding(kind: Kind, report: CheckReport) -> dict[str, Any]:
    return {
        "kind": kind.name,
        "is_fault": kind.is_fault,
        "count": report.count(kind),
        "problem": kind.problem,
        "handling": kind.handling,
        "advice": kind.advice,
        "evidence": report.evidence.get(kind),
        "items": [_item(item) for item in report.findings[kind]],
    }


def _item(item: Item) -> dict[str, Any]:
    return {
        "description": item.description,
        "file_name": item.file_name or None,
        "box": None if item.box is None else list(item.box),
    }


def _pyramid(pyramid: Pyramid) -> dict[str, Any]:
    return {
        "config": pyramid.config,
        "min_size": pyramid.min_size,
        "max_size": pyramid.max_size,
        "levels": [
            {"name": each.name, "stride": each.stride, "object_side": each.object_side}
            for each in pyramid.levels
        ],
    }


def _histogram(histogram: Histogram) -> list[dict[str, Any]]:
    return [
        {"bin": label, "count": count}
        for label, count in zip(histogram.labels, histogram.counts, strict=True)
    ]
