"""Detects in all sources of a command line, and writes drawings and results."""

import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dyhead.errors import UserError, user_errors
from dyhead.output_folder import lock_folder, make_output_folder, write_errors
from dyhead.prediction.detections import Detections
from dyhead.prediction.detector import Detector
from dyhead.prediction.inputs import Picture
from dyhead.prediction.records import Records
from dyhead.prediction.sources import Kind, Source, choose_targets
from dyhead.prediction.video import VideoFile, VideoReader, open_camera, open_video
from dyhead.progress import Progress
from dyhead.safe_io.addresses import fetch, is_web_address

LOCK_NAME = ".predictions.lock"


@dataclass(frozen=True)
class PredictSettings:
    """The options of a run: output folder, classes, batch size, drawings, frames."""

    output: Path  # folder
    classes: Sequence[str] | None = None  # names; None for all
    batch_size: int = 4
    draw: bool = True
    max_frames: int | None = None  # of each video or camera


@dataclass
class Outcome:
    """The counts at the end of a run."""

    pictures: int = 0  # frames of videos included
    objects: Counter[str] = field(default_factory=Counter)  # class name -> number
    unreadable: dict[str, str] = field(default_factory=dict)  # location -> reason
    seconds: float = 0.0
    is_interrupted: bool = False


class PredictionRun:
    """One run of `dyhead predict`.

    Args:
        detector: a ready one.
        sources: of `find_sources`.
        settings: the output folder and other options.
    """

    _records: Records

    def __init__(
        self, detector: Detector, sources: Sequence[Source], settings: PredictSettings
    ) -> None:
        self._detector = detector
        self._settings = settings
        self._jobs = list(zip(sources, choose_targets(sources, settings.output), strict=True))
        self._outcome = Outcome()
        self._image_id = 0  # of the picture or frame at hand, from 1

    def run(self) -> Outcome:
        """Detect, draw, and write predictions.json and predictions.csv.

        An interruption (Ctrl-C) ends the run early. It and an error leave the results until then.

        Raises:
            UserError: something cannot be written, or a package for videos is missing.
        """
        start = time.monotonic()
        option = f"--output {self._settings.output}"
        make_output_folder(self._settings.output, option)
        with write_errors(option), ExitStack() as stack:
            if lock := lock_folder(self._settings.output, LOCK_NAME, "--output"):
                stack.enter_context(lock)
            self._records = stack.enter_context(closing(Records(self._settings.output)))
            try:
                self._predict_all()
            except KeyboardInterrupt:
                self._outcome.is_interrupted = True
        self._outcome.seconds = time.monotonic() - start
        return self._outcome

    def _predict_all(self) -> None:
        self._predict_pictures([job for job in self._jobs if job[0].kind is Kind.PICTURE])
        for source, target in self._jobs:
            if source.kind is not Kind.PICTURE:
                self._predict_video(source, target)

    def _predict_pictures(self, jobs: Sequence[tuple[Source, Path]]) -> None:
        reading: deque[tuple[Source, Path, Picture]] = deque()

        def read() -> Iterator[Picture]:
            for source, target in jobs:
                try:
                    picture = self._detector.read(source.location)
                except UserError as error:
                    self._report_unreadable(source, error, progress)
                    progress.advance()
                    continue
                reading.append((source, target, picture))
                yield picture

        with closing(Progress(len(jobs))) as progress:
            for detections in self._detect(read(), self._settings.batch_size):
                source, target, picture = reading.popleft()
                self._take(detections, source)
                if self._settings.draw:
                    detections.save(target, picture.as_image())
                progress.advance()

    def _predict_video(self, source: Source, target: Path) -> None:
        is_camera = source.kind is Kind.CAMERA
        # a camera's pictures are wanted at once
        batch_size = 1 if is_camera else self._settings.batch_size
        with ExitStack() as stack:
            if is_camera:  # nothing else ends it
                stack.enter_context(suppress(KeyboardInterrupt))
            progress = stack.enter_context(closing(Progress(None, source.name.name)))
            try:
                reader = stack.enter_context(closing(_open(source, stack)))
            except UserError as error:
                self._report_unreadable(source, error, progress)
                return
            progress.total = _smaller(reader.num_frames, self._settings.max_frames)
            drawing = None
            if self._settings.draw:
                drawing = stack.enter_context(closing(VideoFile(target, reader.rate)))
            frames = self._frames(reader, source, progress)
            for index, detections in enumerate(self._detect(frames, batch_size)):
                self._take(detections, source, index)
                if drawing is not None:
                    drawing.write(detections.plot())
                progress.advance()

    def _frames(self, reader: VideoReader, source: Source, progress: Progress) -> Iterator[Picture]:
        """Yield the frames that can be read; an error that ends them early is reported."""
        try:
            for frame in islice(reader, self._settings.max_frames):
                yield self._detector.read(frame)
        except UserError as error:
            self._report_unreadable(source, error, progress)

    def _detect(self, pictures: Iterator[Picture], batch_size: int) -> Iterator[Detections]:
        found = self._detector(pictures, batch_size=batch_size)
        return (detections.select(classes=self._settings.classes) for detections in found)

    def _take(self, detections: Detections, source: Source, frame: int | None = None) -> None:
        self._image_id += 1
        self._records.add(detections, self._image_id, source.location, frame)
        self._outcome.pictures += 1
        self._outcome.objects.update(detections.names)

    def _report_unreadable(self, source: Source, error: UserError, progress: Progress) -> None:
        self._outcome.unreadable[source.location] = str(error)
        progress.say(f"Left out: {error}")


def _smaller(first: int | None, second: int | None) -> int | None:
    return min((number for number in (first, second) if number is not None), default=None)


def _open(source: Source, stack: ExitStack) -> VideoReader:
    if source.kind is Kind.CAMERA:
        return open_camera(source.location)
    if not is_web_address(source.location):
        return open_video(source.location)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    local = folder / source.name.name
    with user_errors():
        local.write_bytes(fetch(source.location))
    try:
        return open_video(str(local))
    except UserError as error:
        raise UserError(str(error).replace(str(local), source.location)) from error
