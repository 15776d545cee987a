"""Checks of data sets before anything is trained on them: what is wrong, counted and named."""

from dyhead.data.checks.coco import check_coco, refuse_unusable
from dyhead.data.checks.kinds import KINDS, Kind
from dyhead.data.checks.report import CheckReport, Item

__all__ = ["KINDS", "CheckReport", "Item", "Kind", "check_coco", "refuse_unusable"]
