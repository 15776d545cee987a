"""Reports on trainings: how good a detector is, where it fails, and what it cost."""

from dyhead.run_report.run import ReportSettings, write_report

__all__ = ["ReportSettings", "write_report"]
