"""Reports on data sets before a training: what is wrong, what is there, what a model would see."""

from dyhead.data_report.run import CheckSettings, check_data

__all__ = ["CheckSettings", "check_data"]
