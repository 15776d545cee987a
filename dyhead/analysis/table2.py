"""Table 2 of the paper (Dai et al., CVPR 2021): cost against the number of blocks."""

from dataclasses import dataclass

from dyhead.analysis.analyze import Analysis, analyze_detector
from dyhead.d2.config import CfgNode
from dyhead.detector import build_detector
from dyhead.errors import UserError

SIZE = (800, 1344)  # 800 x 1333 padded to the feature pyramid's multiple of 32
# Multiply-adds, in G, against the baseline with its towers, by number of blocks.
PAPER_DELTAS = {1: -84.69, 2: -63.45, 4: -20.97, 6: 21.50, 8: 63.98, 10: 106.46}
TOWER_CONVOLUTIONS = 4


@dataclass(frozen=True)
class DepthCost:
    """A detector with `blocks` blocks against the baseline, in multiply-adds."""

    blocks: int
    delta: int
    paper_delta: float

    @property
    def relative_difference(self) -> float:
        """Return the deviation of our difference from the paper's, as a share of the paper's."""
        return (self.delta - self.paper_delta) / abs(self.paper_delta)


@dataclass(frozen=True)
class Table2:
    """The baseline's multiply-adds and one line per number of blocks."""

    baseline: int
    depths: list[DepthCost]


def measure_table2(cfg: CfgNode, size: tuple[int, int] = SIZE) -> Table2:
    """Measure the baseline with its towers, and the deepest detector block by block.

    A detector with fewer blocks is the deepest one without its last blocks, whose measured
    multiply-adds are taken off.

    Args:
        cfg: an ATSS detector on a DyHead backbone; not changed.
        size: height and width of the image; the paper's numbers are for the default.

    Raises:
        UserError: the config describes no such detector.
    """
    baseline = _analyze(cfg, blocks=0, tower_convolutions=TOWER_CONVOLUTIONS, size=size)
    deepest = _analyze(cfg, blocks=max(PAPER_DELTAS), tower_convolutions=0, size=size)
    steps = [part.cost.multiply_adds for part in deepest.parts if part.name.startswith("block ")]
    if len(steps) != max(PAPER_DELTAS):
        raise UserError(
            "--table2 counts DyHead blocks, but MODEL.BACKBONE.NAME"
            f" {cfg.MODEL.BACKBONE.NAME!r} builds none, or all attentions are off: use a config"
            " such as configs/dyhead_r50_atss_fpn_1x.yaml."
        )
    without_blocks = deepest.total.multiply_adds - sum(steps)
    depths = [
        DepthCost(
            blocks,
            without_blocks + sum(steps[:blocks]) - baseline.total.multiply_adds,
            paper_delta * 1e9,
        )
        for blocks, paper_delta in PAPER_DELTAS.items()
    ]
    return Table2(baseline.total.multiply_adds, depths)


def _analyze(
    cfg: CfgNode, *, blocks: int, tower_convolutions: int, size: tuple[int, int]
) -> Analysis:
    if cfg.MODEL.META_ARCHITECTURE != "ATSS":
        raise UserError(
            "--table2 compares ATSS detectors, not MODEL.META_ARCHITECTURE"
            f" {cfg.MODEL.META_ARCHITECTURE!r}: use a config such as"
            " configs/dyhead_r50_atss_fpn_1x.yaml."
        )
    changed = cfg.clone()
    changed.defrost()
    changed.MODEL.DYHEAD.NUM_CONVS = blocks
    changed.MODEL.ATSS.NUM_CONVS = tower_convolutions
    return analyze_detector(build_detector(changed), size)
