"""The tables of the study as data: detectors, forms and depths of DyHead, parts of the recipe."""

from itertools import product
from typing import NamedTuple


class Variant(NamedTuple):
    """A detector: what to call it, its config of experiments/configs by name, and overrides."""

    title: str
    config: str
    options: tuple[str, ...] = ()


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        labels: its first cells.
        variant: the detector.
        baseline: the detector that it is compared with; None for one that is a baseline itself.
    """

    labels: tuple[str, ...]
    variant: Variant
    baseline: Variant | None = None


class Table(NamedTuple):
    """A table: a name for the command line, a caption, headings of the labels, and the rows."""

    name: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


DETECTORS = {
    "ATSS": "atss",
    "FCOS": "fcos",
    "RepPoints": "reppoints",
    "RetinaNet": "retinanet",
    "Faster R-CNN": "rcnn",
}
# With DyHead, two convolutions per task follow the blocks; without, four stand there alone.
TOWERS = {
    "atss": ("MODEL.ATSS.NUM_CONVS", "4"),
    "fcos": ("MODEL.FCOS.NUM_CONVS", "4"),
    "reppoints": ("MODEL.REPPOINTS.NUM_CONVS", "4"),
    "retinanet": ("MODEL.RETINANET.NUM_CONVS", "4"),
    "rcnn": (),
}
ATTENTIONS = {
    "scale": "MODEL.DYHEAD.SCALE_AWARE",
    "spatial": "MODEL.DYHEAD.SPATIAL_AWARE",
    "task": "MODEL.DYHEAD.TASK_AWARE",
}
DEPTHS = (1, 2, 4, 6, 8, 10)  # of the paper's Table 2
FORMS = {
    "the recipe": (),
    "as the official code": (
        *("MODEL.DYHEAD.OFFSET_INIT", "default"),
        *("MODEL.DYHEAD.COARSER_OFFSETS", "flat_read"),
        *("MODEL.DYHEAD.RESIDUAL", "False"),
        *("MODEL.ATSS.NUM_CONVS", "0"),
        *("SOLVER.DYHEAD_LR_FACTOR", "1.0"),
        *("SOLVER.OFFSET_LR_FACTOR", "1.0"),
    ),
    "offsets that learn at the rate of the blocks": ("SOLVER.OFFSET_LR_FACTOR", "1.0"),
    "offsets that start and are read as in the official code": (
        *("MODEL.DYHEAD.OFFSET_INIT", "default"),
        *("MODEL.DYHEAD.COARSER_OFFSETS", "flat_read"),
    ),
    "both of these": (
        *("SOLVER.OFFSET_LR_FACTOR", "1.0"),
        *("MODEL.DYHEAD.OFFSET_INIT", "default"),
        *("MODEL.DYHEAD.COARSER_OFFSETS", "flat_read"),
    ),
    "blocks that do not add their input": ("MODEL.DYHEAD.RESIDUAL", "False"),
    "no convolutions behind the blocks": ("MODEL.ATSS.NUM_CONVS", "0"),
    "blocks that do not add their input, and no convolutions behind them": (
        *("MODEL.DYHEAD.RESIDUAL", "False"),
        *("MODEL.ATSS.NUM_CONVS", "0"),
    ),
    "blocks that learn at the rate of the rest": (
        *("SOLVER.DYHEAD_LR_FACTOR", "1.0"),
        *("SOLVER.OFFSET_LR_FACTOR", "0.1"),
    ),
    "the order of the paper's equation 2": ("MODEL.DYHEAD.ORDER", "scale_spatial_task"),
    "coarser levels upsampled first": ("MODEL.DYHEAD.COARSER_OFFSETS", "upsample_features"),
}
# Parts are changed one at a time where images have one of three sizes, as the recipe had them until
# this table showed that one size is better.
THREE_SIZES = ("INPUT.MIN_SIZE_TRAIN", "(320, 352, 384)")
# What the recipe has is left out, what it lacks is added.
PARTS = {
    "random weights": (
        *("MODEL.WEIGHTS", ""),
        *("MODEL.TIMM.NORM", ""),
        *("MODEL.PIXELS_FROM_WEIGHTS", "False"),
        *("MODEL.PIXEL_STD", "[57.375, 57.12, 58.395]"),
    ),
    "a size for each image, not for each batch": ("INPUT.ONE_SIZE_PER_BATCH", "False"),
    "images are not flipped": ("INPUT.RANDOM_FLIP", "none"),
    "padding in the statistics": ("MODEL.PADDING_IN_STATISTICS", "True"),
    "averaged weights": ("SOLVER.EMA.ENABLED", "True"),
    "colours": ("INPUT.AUG.COLOR.PROB", "0.5"),
    "crops that keep objects": ("INPUT.AUG.IOU_CROP.PROB", "0.5"),
    "large-scale jitter": (
        *("INPUT.AUG.FIXED_SIZE.SIZE", "(384, 512)"),
        *("INPUT.AUG.FIXED_SIZE.SCALES", "(0.5, 2.0)"),
        *("INPUT.AUG.FIXED_SIZE.PAD", "False"),
    ),
    "mosaic": ("INPUT.AUG.MOSAIC.PROB", "0.5"),
    "mixup": ("INPUT.AUG.MIXUP.PROB", "0.5"),
    "copy-paste": ("INPUT.AUG.COPY_PASTE.PROB", "0.5"),
    "images of rare classes more often": (
        *("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
        *("DATALOADER.REPEAT_THRESHOLD", "0.5"),
    ),
    "lower rates for earlier stages of the backbone": ("SOLVER.BACKBONE_LR_DECAY", "0.7"),
    "the backbone's norms are trained": ("MODEL.TIMM.NORM", ""),
    "the backbone's first stages are not trained": ("MODEL.BACKBONE.FREEZE_AT", "2"),
}


def without_dyhead(name: str, config: str) -> Variant:
    """Return a detector without blocks, with towers of four convolutions."""
    options = ("MODEL.DYHEAD.NUM_CONVS", "0", *TOWERS[config])
    return Variant(f"{name} without DyHead", config, options)


PLAIN_ATSS = without_dyhead("ATSS", "atss")


def detectors_table() -> Table:
    """List every detector without and with DyHead, and Figure 2c's form of Faster R-CNN."""
    rows = []
    for name, config in DETECTORS.items():
        without = without_dyhead(name, config)
        rows.append(Row((name, "without"), without))
        rows.append(Row((name, "with"), Variant(f"{name} with DyHead", config), without))
    figure = Variant("Faster R-CNN with DyHead as in Figure 2c", "rcnn_figure2c")
    rows.append(Row(("Faster R-CNN", "with, Figure 2c"), figure, without))
    caption = "Detectors with and without DyHead (the paper's Table 3)"
    return Table("detectors", caption, ("detector", "DyHead"), tuple(rows))


def attentions_table() -> Table:
    """List ATSS with each subset of the attentions; the whole and none are as in other tables."""
    rows = [
        Row(tuple("yes" if on else "" for on in chosen), _with_attentions(chosen), PLAIN_ATSS)
        for chosen in product((False, True), repeat=len(ATTENTIONS))
    ]
    rows[0] = Row(rows[0].labels, PLAIN_ATSS)
    caption = "Attentions of ATSS with DyHead (the paper's Table 1)"
    return Table("attentions", caption, tuple(ATTENTIONS), tuple(rows))


def _with_attentions(chosen: tuple[bool, ...]) -> Variant:
    """Return ATSS with some attentions."""
    names = [name for name, on in zip(ATTENTIONS, chosen, strict=True) if on]
    off = [ATTENTIONS[name] for name in ATTENTIONS if name not in names]
    options = tuple(part for key in off for part in (key, "False"))
    return Variant(f"ATSS with {', '.join(names) or 'no'} attention", "atss", options)


def depth_table() -> Table:
    """List ATSS with towers and with one to ten DyHead blocks."""
    rows = [Row(("0, towers",), PLAIN_ATSS)]
    for depth in DEPTHS:
        options = ("MODEL.DYHEAD.NUM_CONVS", str(depth))
        variant = Variant(f"ATSS with DyHead, {depth} blocks", "atss", options)
        rows.append(Row((str(depth),), variant, PLAIN_ATSS))
    return Table("depth", "Blocks of ATSS (the paper's Table 2)", ("blocks",), tuple(rows))


def forms_table() -> Table:
    """List ATSS with DyHead as the recipe has it, and with one thing changed at a time."""
    rows = [Row(("towers, no blocks",), PLAIN_ATSS)]
    for title, options in FORMS.items():
        rows.append(
            Row((title,), Variant(f"ATSS with DyHead, {title}", "atss", options), PLAIN_ATSS)
        )
    return Table("forms", "Forms of ATSS with DyHead", ("form",), tuple(rows))


def recipe_table() -> Table:
    """List ATSS with DyHead trained at three sizes, as the recipe, and with one part changed."""
    several = Variant("ATSS with DyHead, three sizes", "atss", THREE_SIZES)
    recipe = Variant("ATSS with DyHead, the recipe", "atss")
    rows = [Row(("three sizes",), several), Row(("one size: the recipe",), recipe, several)]
    for title, options in PARTS.items():
        changed = Variant(f"ATSS, three sizes and {title}", "atss", (*THREE_SIZES, *options))
        rows.append(Row((title,), changed, several))
    return Table("recipe", "Parts of the training", ("changed",), tuple(rows))


TABLES = {
    table.name: table
    for table in (
        *(detectors_table(), forms_table(), recipe_table()),
        *(attentions_table(), depth_table()),
    )
}
