"""Describes an installation: versions, devices, compilers, back ends and parts that are missing."""

from dyhead.info.collect import collect_info
from dyhead.info.text import format_info

__all__ = ["collect_info", "format_info"]
