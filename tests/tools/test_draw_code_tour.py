"""The picture of the data's way shows every traced file once, in order, and cuts nothing off."""

from pathlib import Path

import draw_code_tour as tool
import pytest
from draw_code_tour import BOTH, EVALUATION, TRAINING, place, plot, stations
from matplotlib import pyplot
from trace_data import trace_tiny_detector

TRACED = (
    ["data/mapper.py", "layers/block.py", "layers/stack.py", "ops/matmul.py", "engine/guard.py"],
    [
        *("evaluation/cost.py", "data/mapper.py", "layers/block.py", "data/coco_json.py"),
        *("ops/matmul.py", "data/mapper.py", "evaluation/cost.py", "evaluation/reports.py"),
    ],
)


def test_files_stand_in_the_column_of_the_run_that_reaches_them_in_its_order() -> None:
    columns = [(s.column, s.package, s.files) for s in stations(*TRACED)]
    assert columns == [
        (EVALUATION, "evaluation", ["cost.py"]),
        (BOTH, "data", ["mapper.py"]),
        (BOTH, "layers", ["block.py"]),
        (EVALUATION, "data", ["coco_json.py"]),
        (TRAINING, "layers", ["stack.py"]),
        (BOTH, "ops", ["matmul.py"]),
        (EVALUATION, "evaluation", ["reports.py"]),
        (TRAINING, "engine", ["guard.py"]),
    ]


def test_a_package_is_explained_where_it_stands_first() -> None:
    explained = [bool(station.summary) for station in stations(*TRACED)]
    assert explained == [True, True, True, False, False, True, False, True]


def test_arrows_point_down_from_each_file_to_the_next_of_its_run() -> None:
    pairs = list(tool.arrows(place(stations(*TRACED))))
    assert all(start.bottom < end.y for start, end in pairs)
    packages = [(start.station.package, end.station.package) for start, end in pairs]
    training = ("data", "layers", "layers", "ops", "engine")
    evaluation = ("evaluation", "data", "layers", "data", "ops", "evaluation")
    shared = ("data", "layers")
    expected = [*zip(training, training[1:], strict=False)]
    expected += [p for p in zip(evaluation, evaluation[1:], strict=False) if p != shared]
    assert packages == expected


def assert_text_is_within_boxes(way: list[tool.Station]) -> None:
    figure = plot(way)
    (axes,) = figure.axes
    frames = [box.get_window_extent() for box in axes.patches]
    for text in axes.texts:
        if text.get_text() and text.get_text() not in tool.COLUMNS.values():
            extent = text.get_window_extent()
            corners = (extent.min, extent.max)
            assert any(all(frame.contains(*c) for c in corners) for frame in frames), text
    pyplot.close(figure)


def test_text_stays_within_the_boxes() -> None:
    assert_text_is_within_boxes(stations(*TRACED))


@pytest.mark.slow
@pytest.mark.usefixtures("own_catalogs")
def test_the_traced_way_is_that_of_a_picture(tmp_path: Path) -> None:
    training, evaluation = trace_tiny_detector()
    common = [
        *("data/mapper.py", "modeling/backbone/dyhead.py", "layers/stack.py", "layers/block.py"),
        "ops/deform_conv.py",
    ]
    for files in (training, evaluation):
        assert [file for file in files if file in common] == common
    assert "engine/guard.py" in training[-2:] and "engine/guard.py" not in evaluation
    assert "evaluation/evaluators.py" in evaluation and "visualization/mosaic.py" in evaluation
    assert "evaluation/inference_optimization.py" not in evaluation  # it sees weights alone
    way = stations(training, evaluation)
    assert sum(len(station.files) for station in way) == len({*training, *evaluation})
    assert_text_is_within_boxes(way)
    tool.draw(way, tmp_path / "tour.png")
    assert (tmp_path / "tour.png").stat().st_size < 150_000
