"""Costs of a detector, part by part: multiply-adds, parameters, activations and memory."""

from dyhead.analysis.analyze import Analysis, PartCost, analyze_detector
from dyhead.analysis.cost import Cost
from dyhead.analysis.table2 import Table2, measure_table2

__all__ = ["Analysis", "Cost", "PartCost", "Table2", "analyze_detector", "measure_table2"]
