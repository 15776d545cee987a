"""Runs `dyhead check`: reads and checks sources, and writes what was asked for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.data.sources import part_names
from dyhead.data.sources.parts import MARK, split_path
from dyhead.data_report.as_json import report_as_dict
from dyhead.data_report.collect import (
    ROLES,
    DataReport,
    check_source,
    compare_classes,
    compare_pictures,
    note_sets_without_objects,
)
from dyhead.data_report.configured import NamedSource, configured_sources
from dyhead.data_report.mend import check_targets, write_mended
from dyhead.data_report.page import format_page
from dyhead.data_report.pyramid import read_pyramid
from dyhead.data_report.training_batches import draw_batches
from dyhead.errors import UserError, user_errors
from dyhead.progress import Progress
from dyhead.safe_io.json_text import write_json
from dyhead.safe_io.save import write_text_atomically

DEFAULT_CONFIG = "own_dataset"
_NOT_FOR_TRAINING = ("val", "test")  # parts, even where they are checked alone


@dataclass(frozen=True)
class CheckSettings:
    """The options of a check.

    Attributes:
        sources: files or folders; empty for the data sets of the config.
        images: their image folders: none, one for all, or one for each.
        config: whose pyramid boxes are compared with; "" for the packaged own_dataset.
        overrides: KEY VALUE pairs for it.
        html: the page to write.
        json: the report to write as JSON.
        write: the mended copy to write, unless nothing usable is left.
        batches: training batches to draw into the page.
        by_pixels: decode all pictures, and find those that are nearly the same.
    """

    sources: Sequence[Path]
    images: Sequence[Path] = ()
    config: str = ""
    overrides: Sequence[str] = ()
    html: Path | None = None
    json: Path | None = None
    write: Path | None = None
    batches: int = 0
    by_pixels: bool = True


def check_data(settings: CheckSettings) -> DataReport:
    """Check data sets, and write the files that the settings name.

    Raises:
        UserError: a source or an option cannot be used, or a file cannot be written.
    """
    _check_options(settings)
    cfg, _ = load_config(settings.config or DEFAULT_CONFIG, settings.overrides)
    sources = list(_given(settings)) or configured_sources(cfg)
    if settings.batches and not settings.sources and not cfg.DATASETS.TRAIN:
        raise UserError(
            "--batches draws batches of a training, but DATASETS.TRAIN is empty: set it, or name a"
            " source."
        )
    targets = [(settings.html, ".html"), (settings.json, ".json"), (settings.write, ".json")]
    check_targets(targets, [source.path for source in sources])
    if settings.write and len(sources) != 1:
        named = ", ".join(str(source.path) for source in sources)
        raise UserError(f"--write leaves a mended copy of one source: name one of {named}.")
    pyramid = read_pyramid(settings.config or DEFAULT_CONFIG, cfg)
    checked = []
    for source in sources:
        with progress_of(f"{source.role}, files") as progress:
            checked.append(check_source(source, pyramid, cfg, progress))
    note_sets_without_objects(checked, cfg)
    compare_classes(checked)
    with progress_of("comparing") as progress:
        between = compare_pictures(checked, progress, settings.by_pixels)
    report = DataReport(checked, pyramid, between)
    if settings.batches:
        given = sources[0] if settings.sources else None
        report = _with_batches(report, cfg, settings.batches, given)
    _write(report, settings)
    return report


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of something that tells how many pictures are done, of how many.

    The clock starts with the first call, when what comes before, such as reading a json, is over.
    """
    with ExitStack() as stack:
        progress: Progress | None = None
        shown = 0

        def show(done: int, in_all: int) -> None:
            nonlocal progress, shown
            if progress is None:
                progress = stack.enter_context(closing(Progress(in_all, what)))
            progress.advance(done - shown)
            shown = done

        yield show


def _check_options(settings: CheckSettings) -> None:
    number = len(settings.sources)
    if not number and not settings.config:
        raise UserError("Nothing to check: name a file or folder of labelled data, or --config.")
    if settings.images and not number:
        raise UserError(
            "--images is given without a source: name the source, or leave --images out, for the"
            " config names the folders of its data sets."
        )
    if settings.images and len(settings.images) not in (1, number):
        raise UserError(
            f"--images is given {len(settings.images)} times for {number} sources: give it once for"
            " all of them, or once for each."
        )


def _given(settings: CheckSettings) -> Iterator[NamedSource]:
    """Give each source what it is for; all parts of a source that has several and names none."""
    images = list(settings.images) * (len(settings.sources) if len(settings.images) == 1 else 1)
    for index, path in enumerate(settings.sources):
        parts, root = part_names(path), images[index] if images else None
        if {"train", "val"} <= set(parts):
            parts = [part for part in parts if part != "trainval"]  # VOC's list of both
        if len(parts) > 1:
            for part in parts:
                yield NamedSource(part, Path(f"{path}{MARK}{part}"), root, part == ROLES[0])
        else:
            role = ROLES[index] if index < len(ROLES) else f"source {index + 1}"
            is_for_training = index == 0 and split_path(path)[1] not in _NOT_FOR_TRAINING
            yield NamedSource(role, path, root, is_for_training)


def _with_batches(
    report: DataReport, cfg: CfgNode, number: int, given: NamedSource | None
) -> DataReport:
    """Draw training batches; where data with faults is refused, the report says so and stays."""
    try:
        return replace(report, batches=draw_batches(cfg, number, given))
    except UserError as error:
        if not report.count(is_fault=True):
            raise
        return replace(report, refusal=str(error).partition("\n")[0])


def _write(report: DataReport, settings: CheckSettings) -> None:
    if settings.json:
        with user_errors(str(settings.json)):
            write_json(report_as_dict(report), settings.json, indent=1)
    if settings.html:
        with user_errors(str(settings.html)):
            write_text_atomically(format_page(report), settings.html)
    if settings.write and report.sources[0].is_usable:
        write_mended(report.sources[0], settings.write)
