"""Draw the picture of a DyHead block in README.md: `python tools/draw_block.py`."""

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon

TARGET = Path(__file__).parents[1] / "docs" / "images" / "block.png"
# The colours of Okabe and Ito (2008), which the colour-blind tell apart, on white.
LEVEL, SPATIAL, SCALE, TASK, INK = "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#222222"


def draw_level(axes: Any, x: float, y: float, size: float, text: str) -> None:
    """Draw a feature map as a slanted plane, its name below."""
    width, height, slant = size, 0.55 * size, 0.35 * size
    corners = [(x, y), (x + width, y), (x + width + slant, y + height), (x + slant, y + height)]
    axes.add_patch(Polygon(corners, facecolor=LEVEL, edgecolor=INK, alpha=0.55))
    axes.text(x + (width + slant) / 2, y - 0.12, text, ha="center", va="top", fontsize=10)


def draw_box(
    axes: Any, x: float, y: float, size: tuple[float, float], text: str, color: str
) -> None:
    """Draw a step of the computation, its lower left corner at x, y."""
    style = "round,pad=0.02,rounding_size=0.08"
    box = FancyBboxPatch((x, y), *size, boxstyle=style, facecolor=color, edgecolor=INK, alpha=0.35)
    axes.add_patch(box)
    center = x + size[0] / 2, y + size[1] / 2
    axes.text(*center, text, ha="center", va="center", fontsize=8.5, linespacing=1.35)


def draw_arrow(
    axes: Any, start: tuple[float, float], end: tuple[float, float], **style: Any
) -> None:
    """Draw an arrow; `style` changes how."""
    look = {"arrowstyle": "-|>", "mutation_scale": 11, "color": INK, "linewidth": 1.1}
    axes.add_patch(FancyArrowPatch(start, end, **{**look, **style}))


def draw_branches(axes: Any) -> None:
    """Draw the three levels and the convolutions that sample them."""
    branches = (
        (4.3, 1.25, "level $l-1$\n(finer)", "deformable 3x3, stride 2\nGroupNorm"),
        (2.35, 0.9, "level $l$", "deformable 3x3\nGroupNorm"),
        (0.75, 0.6, "level $l+1$\n(coarser)", "deformable 3x3\nGroupNorm, upsampling"),
    )
    for y, size, name, step in branches:
        draw_level(axes, 0.75 - size / 2, y - 0.25 * size, size, name)
        draw_box(axes, 3.35, y - 0.42, (2.5, 0.84), step, SPATIAL)
        draw_arrow(axes, (0.95 + 0.8 * size, y), (3.35, y))
        draw_arrow(axes, (5.85, y), (6.4, y))
        draw_box(axes, 6.4, y - 0.3, (1.0, 0.6), "x weight", SCALE)
        draw_arrow(axes, (7.4, y), (8.1, 2.35), shrinkB=2)


def draw_block(path: Path) -> None:
    """Draw the block and write the picture."""
    figure, axes = pyplot.subplots(figsize=(11, 4.6), dpi=110)
    axes.set(xlim=(-0.2, 12.4), ylim=(-0.35, 5.75), aspect="equal")
    axes.axis("off")
    draw_branches(axes)
    draw_box(axes, 1.6, 3.0, (1.3, 0.75), "3x3:\noffsets, mask", SPATIAL)
    draw_arrow(axes, (1.45, 2.6), (1.75, 3.0))
    for start, end in (((2.6, 3.75), 4.1), ((2.9, 3.1), 2.6), ((2.6, 3.0), 1.0)):
        draw_arrow(axes, start, (3.35, end), linestyle="--", linewidth=0.9)
    draw_box(axes, 8.1, 2.0, (0.85, 0.7), "mean", SCALE)
    draw_arrow(axes, (8.95, 2.35), (9.45, 2.35))
    draw_box(axes, 9.45, 2.0, (1.15, 0.7), "DyReLU", TASK)
    draw_arrow(axes, (10.6, 2.35), (11.1, 2.35))
    draw_level(axes, 11.15, 2.12, 0.85, "level $l$")
    titles = (
        (4.55, "spatial-aware:\nwhere to look", SPATIAL),
        (7.25, "scale-aware:\nwhich level counts", SCALE),
        (10.02, "task-aware:\nwhich channels", TASK),
    )
    for x, text, color in titles:
        axes.text(x, 5.25, text, ha="center", va="center", fontsize=10, weight="bold", color=color)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.05, facecolor="white")
    pyplot.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=TARGET)
    draw_block(parser.parse_args().output)
