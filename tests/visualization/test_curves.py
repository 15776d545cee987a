"""A run's metrics become one readable picture, whatever state the run is in."""

import json
import logging

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dyhead.visualization.curves import curve_of, draw_precisions, plot_curves, read_metrics


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def record(iteration, **more):
    return {"iteration": iteration, "total_loss": 2.0, "loss_cls": 1.5, "lr": 0.1, **more}


def test_losses_and_precisions_are_drawn(tmp_path):
    records = [record(i) for i in range(0, 100, 20)]
    records.append({"iteration": 99, "bbox/AP": 41.0, "bbox/AP50": 66.0, "bbox/APs": float("nan")})
    output = plot_curves(write(tmp_path / "metrics.json", records), tmp_path / "new" / "curves.png")
    assert output == tmp_path / "new" / "curves.png"
    picture = np.asarray(Image.open(output).convert("RGB"))
    assert picture.shape == (550, 1320, 3)
    for half in (picture[:, :660], picture[:, 660:]):
        coloured = half.max(axis=2).astype(int) - half.min(axis=2) > 60
        assert coloured.sum() > 100


@pytest.mark.parametrize(
    "records",
    [
        [record(0)],
        [record(i) for i in range(5)],
        [{"iteration": 5, "bbox/AP": 4.0}],
        [record(0, total_loss=0.0)],
        [record(9), {"iteration": 9, "a/bbox/AP": 3.0, "a/bbox/AP50": 5.0, "b/bbox/AP": 7.0}],
    ],
)
def test_any_part_alone_is_enough(tmp_path, records):
    assert plot_curves(write(tmp_path / "m.json", records), tmp_path / "curves.png").is_file()


@pytest.mark.parametrize("last", [2.0, 11.9, 12.1, 59.0, 100.0])
@pytest.mark.parametrize("iterations", [[0], [900, 1000], [269, 526, 786, 1019]])
def test_the_last_value_stands_within_the_frame(last, iterations):
    figure = Figure(figsize=(5.6, 3.7), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw_precisions(axes, {"bbox/AP": (iterations, [last] * len(iterations))})
    canvas.draw()
    (text,) = axes.texts
    assert text.get_text() == f"{last:.1f}"
    written, frame = text.get_window_extent(), axes.get_window_extent()
    assert frame.x0 + 2 < written.x0 or iterations == [0]  # over the point at the axis itself
    assert written.x1 < frame.x1 - 4
    assert frame.y0 + 2 < written.y0 and written.y1 < frame.y1 - 2


def test_a_resumed_run_counts_the_later_line(tmp_path):
    records = [record(0), record(20), record(40), record(20, total_loss=9.0), record(60)]
    curve = curve_of(read_metrics(write(tmp_path / "m.json", records)), "total_loss")
    assert curve == ([0, 20, 40, 60], [2.0, 9.0, 2.0, 2.0])


def test_values_that_are_no_numbers_are_left_out(tmp_path):
    records = [record(0), record(20, total_loss=float("nan")), record(40)]
    assert curve_of(read_metrics(write(tmp_path / "m.json", records)), "total_loss")[0] == [0, 40]


def test_a_line_cut_off_by_a_kill_is_passed_over_and_told(tmp_path, caplog):
    path = write(tmp_path / "m.json", [record(0), record(20)])
    path.write_text(path.read_text() + '{"iteration": 40, "total')
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        assert list(read_metrics(path)) == [0, 20]
    assert "line 3" in caplog.text


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="neither losses nor APs"):
        plot_curves(write(tmp_path / "m.json", [{"iteration": 1, "lr": 1}]), tmp_path / "c.png")
    with pytest.raises(ValueError, match="missing.json does not exist"):
        plot_curves(tmp_path / "missing.json", tmp_path / "c.png")
