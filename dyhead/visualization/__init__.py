"""Pictures of a run: its curves, and predictions beside ground truth."""

from dyhead.visualization.curves import plot_curves
from dyhead.visualization.mosaic import draw_mosaic

__all__ = ["draw_mosaic", "plot_curves"]
