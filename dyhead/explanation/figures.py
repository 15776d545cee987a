"""Draws Figures 3 and 4 of the DyHead paper (Dai et al., CVPR 2021, section 4) for any detector.

Figure 3 has histograms over pictures of the scale attention's ratios, as defined in
`dyhead.explanation.measure`, level by level, in a panel for each block.

Figure 4 has feature maps before the first block and after 2, 4 and 6 blocks, or after each one
where there are fewer than four. A map is drawn as the Euclidean norm over its channels, from its
own lowest to its own highest value.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dyhead.explanation.measure import Measured, measure
from dyhead.output_folder import make_output_folder, write_errors
from dyhead.prediction.runner import Runner
from dyhead.prediction.sources import Source
from dyhead.safe_io.json_text import write_json
from dyhead.visualization.colors import css_color, level_colors

_BINS = 40
_DPI = 100


def draw_figures(
    runner: Runner, sources: Sequence[Source], output: Path, figures: Sequence[int]
) -> tuple[list[Path], list[str]]:
    """Measure in pictures, and draw figures of the paper.

    Args:
        runner: of a PyTorch detector with DyHead blocks, two-stage ones too.
        sources: pictures; figure 3 is over all of them, figure 4 shows the first ones.
        output: folder.
        figures: 3, 4 or both.

    Returns:
        what was written, and why pictures were left out, for each.

    Raises:
        UserError: the detector has no blocks or no scale attention for figure 3, no picture can be
            read, or something cannot be written.
    """
    make_output_folder(output, f"--output {output}")
    measured = measure(runner, sources, wants_ratios=3 in figures)
    written = []
    with write_errors(f"--output {output}"):
        if 3 in figures:
            written += [_draw_ratios(measured, output), _write_ratios(measured, output)]
        if 4 in figures:
            written += [
                _draw_maps(measured, level, output) for level in range(len(measured.level_names))
            ]
    return written, measured.unreadable


def shown_depths(num_blocks: int) -> list[int]:
    """Choose after how many blocks maps are shown, 0 for before the first."""
    if num_blocks < 4:
        return list(range(num_blocks + 1))
    return [*range(0, num_blocks, 2), num_blocks]


def _draw_ratios(measured: Measured, output: Path) -> Path:
    """Draw a panel of histograms per block."""
    count, num_blocks, _ = measured.ratios.shape
    columns = min(num_blocks, 3)
    rows = -(-num_blocks // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.18)  # a panel's means are not the next one's
    size = (max(4.6 * columns, 7), 3.4 * rows + 0.8)
    figure = Figure(figsize=size, dpi=_DPI, layout=layout)
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    low, high = measured.ratios.min(), measured.ratios.max()
    bins = np.linspace(low - 0.01, high + 0.01, _BINS + 1)
    for block, axes in enumerate(grid.flat):
        if block >= num_blocks:
            axes.set_axis_off()
            continue
        _draw_block_ratios(axes, measured, block, bins)
    pictures = f"{count} picture{'s' if count != 1 else ''}"
    figure.suptitle(f"Scale ratios over {pictures}: weight of the finest over the coarsest branch")
    path = output / "figure3.png"
    canvas.print_png(str(path))
    return path


def _draw_block_ratios(axes: Axes, measured: Measured, block: int, bins: np.ndarray) -> None:
    """Draw the levels' histograms above each other, the finest on top, each as high as its row."""
    count = len(measured.level_names)
    for level, color in enumerate(level_colors(count)):
        values = measured.ratios[:, block, level]
        pictures, _ = np.histogram(values, bins)
        base = count - 1 - level
        axes.bar(
            bins[:-1],
            0.85 * pictures / pictures.max(),
            np.diff(bins),
            bottom=base,
            align="edge",
            color=css_color(color),
            edgecolor="black",
            linewidth=0.5,
        )
        axes.axhline(base, color="black", linewidth=0.5)
        axes.annotate(
            f"{values.mean():.2f}",
            (1, (base + 0.45) / count),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.axvline(1, color="black", linestyle=":", linewidth=1)
    axes.set_ylim(0, count)
    axes.set_yticks([count - 0.55 - level for level in range(count)], measured.level_names)
    axes.set_title(f"block {block + 1} (means at the right)", fontsize=11)
    axes.set_xlabel("finest / coarsest", fontsize=10)
    axes.tick_params(labelbottom=True, labelleft=True)


def _write_ratios(measured: Measured, output: Path) -> Path:
    """Write what the histograms are made of, in numbers."""
    content = {
        "definition": "weight of the finest branch that is mixed on a level over that of the"
        " coarsest one, by picture",
        "pictures": len(measured.ratios),
        "blocks": [
            {
                name: {
                    "mean": round(float(values.mean()), 4),
                    "deviation": round(float(values.std()), 4),
                    "lowest": round(float(values.min()), 4),
                    "highest": round(float(values.max()), 4),
                }
                for name, values in zip(measured.level_names, of_block.T, strict=True)
            }
            for of_block in measured.ratios.transpose(1, 0, 2)
        ],
    }
    path = output / "figure3.json"
    write_json(content, path, indent=1)
    return path


def _draw_maps(measured: Measured, level: int, output: Path) -> Path:
    """Draw a row per picture: itself, and a level before and after blocks."""
    depths = shown_depths(len(measured.drawn[0].maps) - 1)
    rows, columns = len(measured.drawn), len(depths) + 1
    figure = Figure(figsize=(2.7 * columns, 2.5 * rows + 0.7), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes_of_row, (picture, maps) in zip(grid, measured.drawn, strict=True):
        width, height = picture.size[::-1]
        axes_of_row[0].imshow(picture.as_image())
        for axes, depth in zip(axes_of_row[1:], depths, strict=True):
            axes.imshow(maps[depth][level], cmap="viridis", interpolation="nearest")
            axes.set_box_aspect(height / width)
            axes.set_aspect("auto")
        for axes in axes_of_row:
            axes.set(xticks=[], yticks=[])
    titles = ["picture", *(_after(depth) for depth in depths)]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=11)
    name = measured.level_names[level]
    figure.suptitle(f"{name}: norm over channels, each map from its lowest to its highest value")
    path = output / f"figure4_{name}.png"
    canvas.print_png(str(path))
    return path


def _after(depth: int) -> str:
    if not depth:
        return "before DyHead"
    return f"after {depth} block{'s' if depth > 1 else ''}"
