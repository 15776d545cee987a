"""Reads and checks data sets, and collects all that a report on them says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from dyhead.d2.config import CfgNode
from dyhead.data.checks import CheckReport, Item, Kind, check_coco, kinds
from dyhead.data.checks.contents import PictureSet, check_contents
from dyhead.data.coco_json import lack_of_objects
from dyhead.data.num_classes import difference
from dyhead.data.sources import Division, Source, read_source
from dyhead.data.training_sets import refuses_sets_without_objects
from dyhead.data_report.configured import NamedSource
from dyhead.data_report.pyramid import LevelCounts, Pyramid, count_levels
from dyhead.data_report.statistics import Boxes, Statistics, collect_boxes, describe

ROLES = ("train", "val")  # of the first and the second source

NUM_WORST = 10

ShowProgress = Callable[[int, int], None]  # done, in all


@dataclass(frozen=True)
class CheckedSource:
    """A source with what was found in it.

    Attributes:
        role: "train", "val" or a number.
        source: as it was read.
        content: the checked copy in COCO's form.
        report: what is wrong.
        statistics: what it is made of.
        levels: its boxes on the pyramid's levels.
        is_for_training: it is one of those to train on.
        undecodable: file names of images that only decoding shows to be damaged, once it was done.
    """

    role: str
    source: Source
    content: dict[str, Any]
    report: CheckReport
    statistics: Statistics
    levels: LevelCounts
    is_for_training: bool
    undecodable: set[str] = field(default_factory=set)

    @property
    def is_usable(self) -> bool:
        """False if the checks left nothing of it that could be trained on or evaluated."""
        return not self.report.count(kinds.NOTHING_USABLE)


@dataclass(frozen=True)
class DrawnBatch:
    """The pictures of one training batch, drawn with their boxes, and their names."""

    pictures: Sequence[tuple[str, Image.Image]]


@dataclass(frozen=True)
class DataReport:
    """All that is said of some sources.

    Attributes:
        sources: the first one is for training, the second for validation.
        pyramid: the levels that boxes are compared with.
        between: what was found between pictures, of one source or of several.
        batches: training batches as the model sees them.
        refusal: why a training with such faults gives no batches; "" where it does, or none were
            asked for.
    """

    sources: Sequence[CheckedSource]
    pyramid: Pyramid
    between: CheckReport
    batches: Sequence[DrawnBatch] = field(default_factory=list)
    refusal: str = ""

    @property
    def reports(self) -> list[CheckReport]:
        """The reports of the sources, then that on pictures that are alike."""
        return [*(each.report for each in self.sources), self.between]

    def count(self, is_fault: bool) -> int:
        """Count the faults, or the notes, of all sources."""
        return sum(
            number
            for report in self.reports
            for kind, number in report.counts.items()
            if kind.is_fault == is_fault
        )

    def kinds(self, is_fault: bool) -> set[Kind]:
        """Return the kinds of the faults, or of the notes, that were found."""
        return {kind for r in self.reports for kind in r.findings if kind.is_fault == is_fault}


def check_source(
    named: NamedSource,
    pyramid: Pyramid,
    cfg: CfgNode,
    progress: ShowProgress | None = None,
) -> CheckedSource:
    """Read and check one source, and count what it is made of.

    Args:
        named: what it is called, and where it is.
        pyramid: the levels that its boxes are compared with.
        cfg: DATASETS says how a source is divided, and if files may lie outside its image folder.
        progress: called now and then with the number of files that were looked at, and of all.

    Raises:
        UserError: it cannot be read.
    """
    division = Division(cfg.DATASETS.VAL_RATIO, cfg.DATASETS.SPLIT_SEED)
    source = read_source(named.path, named.image_root, division)
    content, report = check_coco(
        source.content,
        source.path,
        source.image_root,
        progress,
        cfg.DATASETS.ALLOW_OUTSIDE,
        source.report,
    )
    boxes = collect_boxes(content)
    levels = count_levels(content, boxes, pyramid)
    _note_small_boxes(content, boxes, levels, report)
    _note_crowded_images(content, boxes, pyramid, report)
    counted = describe(content, boxes)
    return CheckedSource(
        named.role, source, content, report, counted, levels, named.is_for_training
    )


def note_sets_without_objects(sources: Sequence[CheckedSource], cfg: CfgNode) -> None:
    """Report sets that have no object: a fault of those to train on, if the training refuses them.

    Where the checks left nothing usable, that has been reported.
    """
    lacks = [lack_of_objects(each.content["annotations"]) for each in sources]
    to_learn = [lack for each, lack in zip(sources, lacks, strict=True) if each.is_for_training]
    is_refused = refuses_sets_without_objects(cfg, to_learn)
    for source, lack in zip(sources, lacks, strict=True):
        if lack and source.is_usable:
            is_fault = source.is_for_training and is_refused
            kind = kinds.NOTHING_TO_LEARN if is_fault else kinds.NO_GROUND_TRUTH
            source.report.add(kind, f"{source.source.path} has {lack}")


def compare_classes(sources: Sequence[CheckedSource]) -> None:
    """Report sources whose classes are not those of the first, as training needs them to be."""
    first, *others = ([each.name for each in s.statistics.classes] for s in sources)
    for source, names in zip(sources[1:], others, strict=True):
        if names != first:
            where = (f"in {sources[0].role}", f"in {source.role}")
            source.report.add(kinds.OTHER_CLASSES, difference(first, names, where))


def compare_pictures(
    sources: Sequence[CheckedSource], progress: ShowProgress | None = None, by_pixels: bool = True
) -> CheckReport:
    """Find pictures that are alike, within each source and between them, and damaged ones.

    Args:
        sources: the first is for training.
        progress: called now and then with the number of pictures that were read, and of all.
        by_pixels: decode all pictures, and find those that are nearly the same too.
    """
    report = CheckReport("Pictures that are alike")
    sets = [
        PictureSet(
            each.role,
            each.source.image_root,
            [image["file_name"] for image in each.content["images"]],
        )
        for each in sources
    ]
    check_contents(sets, report, progress, by_pixels)
    for source, pictures in zip(sources, sets, strict=True):
        source.undecodable.update(pictures.undecodable)
        for name, reason in pictures.undecodable.items():
            source.report.add(kinds.UNDECODABLE_PICTURE, Item(f"{name}: {reason}", name))
    return report


def worst_pictures(source: CheckedSource) -> list[tuple[str, int]]:
    """Return the file names with the most faults, and their number, the worst first."""
    return source.report.faults_by_file.most_common(NUM_WORST)


def _note_small_boxes(
    content: dict[str, Any], boxes: Boxes, levels: LevelCounts, report: CheckReport
) -> None:
    for index in levels.below_stride:
        file_name = content["images"][boxes.images[index]]["file_name"]
        place = tuple(boxes.places[index].tolist())
        description = f"box {[round(value, 1) for value in place]} of {file_name}"
        report.add(kinds.SMALL_BOX, Item(description, file_name, place))


def _note_crowded_images(
    content: dict[str, Any], boxes: Boxes, pyramid: Pyramid, report: CheckReport
) -> None:
    if pyramid.max_objects < 0:  # no limit
        return
    counts: dict[int, int] = {}
    for index in boxes.images.tolist():
        counts[index] = counts.get(index, 0) + 1
    for index, count in counts.items():
        if count > pyramid.max_objects:
            file_name = content["images"][index]["file_name"]
            report.add(kinds.CROWDED_IMAGE, Item(f"{file_name}: {count} objects", file_name))
