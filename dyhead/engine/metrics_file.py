"""The writer of metrics.json: strict JSON on either host, for genuine Detectron2's writes NaN."""

from dyhead.d2.utils.events import EventWriter, get_event_storage
from dyhead.safe_io.json_text import ScalarLines


class MetricsWriter(EventWriter):
    """Appends one JSON object per iteration, a line each: its scalars and "iteration".

    A scalar that is not finite, such as the AP of a size without objects, is null. A line with
    "iteration" alone says that the run was resumed there: what earlier lines tell of later
    iterations is of weights that are gone.
    """

    def __init__(self, path: str, window_size: int = 20, start: int = 0) -> None:
        """Open a file for appending; one of an earlier run is continued.

        Args:
            path: of the file.
            window_size: iterations over which scalars are smoothed.
            start: the iteration that the run is resumed at; 0 for a new one.
        """
        self._lines = ScalarLines(path)
        if start:
            self._lines.resume(start)
        self._window_size = window_size

    def write(self) -> None:
        """Append what is new, and have it on the disk when this returns."""
        self._lines.append(get_event_storage().latest_with_smoothing_hint(self._window_size))

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
