"""Explains the pictures of a command line, and writes drawings, a page and a json."""

import io
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from dyhead.errors import UserError
from dyhead.explanation.drawing import draw_overview, save_detection
from dyhead.explanation.explained import Explanation
from dyhead.explanation.page import ShownPicture, show_picture
from dyhead.explanation.pages import PageWriter
from dyhead.output_folder import make_output_folder, write_errors
from dyhead.prediction.detector import Detector
from dyhead.prediction.inputs import Picture
from dyhead.prediction.sources import Kind, Source, choose_targets
from dyhead.progress import Progress
from dyhead.safe_io.save import write_bytes_atomically

MAX_DRAWN = 30  # detections of a picture that get a drawing of their own


@dataclass
class Explained:
    """The counts at the end of a run."""

    pictures: int = 0
    detections: int = 0
    not_drawn: int = 0  # detections beyond the most certain ones of a picture
    pages: list[Path] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # location -> reason


def explain_pictures(
    detector: Detector,
    sources: Sequence[Source],
    output: Path,
    *,
    source: str,
    block: int | None = None,
) -> Explained:
    """Explain pictures one after the other.

    For each picture a drawing of all boxes with their levels, and a folder with a drawing of each
    detection are written, and for all of them explanations.html and explanations.json, with more
    pages where there are many.

    Args:
        detector: its threshold counts.
        sources: of `find_sources`.
        output: folder.
        source: what the detector was loaded from, for the page.
        block: see `Detector.explain`.

    Raises:
        UserError: a source is no picture, none can be read, the detector cannot be explained, or
            something cannot be written.
    """
    for each in sources:
        if each.kind is not Kind.PICTURE:
            raise UserError(f"{each.location} is no picture: dyhead explain takes pictures only.")
    make_output_folder(output, f"--output {output}")
    outcome, pages = Explained(), PageWriter(output, source)
    with closing(Progress(len(sources))) as progress, write_errors(f"--output {output}"):
        for each, target in zip(sources, _choose_drawings(sources, output), strict=True):
            try:
                picture = detector.read(each.location)
            except UserError as error:
                outcome.unreadable[each.location] = str(error)
                progress.say(f"Left out: {error}")
            else:
                pages.add(_explain(detector, picture, block, target, outcome))
            progress.advance()
        pages.close()
    if not pages.written:
        reason = next(iter(outcome.unreadable.values()))
        raise UserError(f"None of the pictures can be read: {reason}")
    outcome.pages = pages.written
    return outcome


def _choose_drawings(sources: Sequence[Source], output: Path) -> list[Path]:
    """Choose a PNG for each source: photo.jpg and photo.png get one each."""
    as_png = [replace(each, name=each.name.with_suffix(".png")) for each in sources]
    return choose_targets(as_png, output)


def _explain(
    detector: Detector, picture: Picture, block: int | None, target: Path, outcome: Explained
) -> ShownPicture:
    explanation = detector.explain(picture, block=block)
    image = picture.as_image()
    _draw(explanation, image, target, outcome)
    return show_picture(explanation, image, picture.file_name or "")


def _draw(explanation: Explanation, image: Image.Image, target: Path, outcome: Explained) -> None:
    """Write the drawings of a picture."""
    outcome.pictures += 1
    outcome.detections += len(explanation)
    outcome.not_drawn += max(len(explanation) - MAX_DRAWN, 0)
    file = io.BytesIO()
    draw_overview(explanation, image).save(file, "PNG")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(file.getvalue(), target)
    names = explanation.detections.names
    for index, name in enumerate(names[:MAX_DRAWN]):
        plain = re.sub(r"[^\w-]+", "_", name)[:40]
        save_detection(
            explanation, index, image, target.with_suffix("") / f"{index + 1:02}_{plain}.png"
        )
