"""Figures 3 and 4: what is measured for them, and that they are drawn for any detector."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_blocks import make_block, make_levels
from small_runs import save_run

from dyhead import Detector
from dyhead.cli.main import main
from dyhead.explanation import measure as measure_module
from dyhead.explanation.figures import shown_depths
from dyhead.explanation.measure import collect_maps, measure, scale_ratios
from dyhead.layers import DyHeadStack, fused_attention, record_attentions
from dyhead.prediction.runner import Runner
from dyhead.prediction.sources import find_sources
from dyhead.progress import Progress

SIZES = [(8, 8), (4, 4), (2, 2)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(2):
        pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Return that of a small detector of one block."""
    return Detector(save_run(tmp_path_factory.mktemp("run")), device="cpu").runner


def test_maps_are_what_blocks_get_and_give_and_blocks_stay_fused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fused = []
    attend = fused_attention.attend_fused
    monkeypatch.setattr(
        "dyhead.layers.block.attend_fused", lambda *parts: fused.append(1) or attend(*parts)
    )
    torch.manual_seed(0)
    stack = DyHeadStack(16, 16, 2)
    levels = dict(zip("abc", make_levels(SIZES, dtype=torch.float32), strict=True))
    with torch.no_grad(), collect_maps(stack) as maps:
        output = stack(levels)
    assert len(fused) == 2 and len(maps) == 3
    assert all(map(torch.equal, maps[0], levels.values()))
    with torch.no_grad():
        assert all(map(torch.equal, maps[1], stack[0](list(levels.values()))))
    assert all(map(torch.equal, maps[2], output.values()))


@pytest.mark.parametrize("order", ["spatial_scale_task", "scale_spatial_task"])
def test_ratios_are_of_the_finest_and_the_coarsest_that_are_mixed(order: str) -> None:
    block, levels = make_block(order=order), make_levels(SIZES, batch=1)
    with torch.no_grad(), record_attentions(block) as (record,):
        block(levels)
    scale, spatial = block.scale_attention, block.spatial_attention
    with torch.no_grad():
        for index, ratio in enumerate(scale_ratios(record)):
            if order == "scale_spatial_task":
                mixed = levels[max(index - 1, 0) : index + 2]
            else:
                mixed = spatial(levels, index)
            expected = scale.weight(mixed[0]) / scale.weight(mixed[-1])
            assert ratio == pytest.approx(expected.item(), rel=1e-9)


def test_maps_are_shown_after_two_four_and_six_blocks_as_in_the_paper() -> None:
    assert shown_depths(6) == [0, 2, 4, 6]
    assert shown_depths(2) == [0, 1, 2]
    assert shown_depths(5) == [0, 2, 4, 5]


def test_both_are_drawn_with_their_numbers(folder: Path, tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", **{"MODEL.DYHEAD.NUM_CONVS": 2})
    output = tmp_path / "figures"
    main(["explain", str(run), str(folder), "--figures", "3,4", "--output", str(output)])
    names = {path.name for path in output.iterdir()}
    assert names == {"figure3.json", "figure3.png", *(f"figure4_p{n}.png" for n in range(3, 8))}
    content = json.loads((output / "figure3.json").read_text())
    assert content["pictures"] == 2 and len(content["blocks"]) == 2
    detector = Detector(run, device="cpu")
    measured = measure(detector.runner, find_sources([str(folder)], output))
    means = [of_block["p4"]["mean"] for of_block in content["blocks"]]
    np.testing.assert_allclose(means, measured.ratios[:, :, 1].mean(0), atol=1e-4)
    shapes = [level.shape for level in measured.drawn[0].maps[0]]
    assert shapes[:3] == [(12, 16), (6, 8), (3, 4)], "96 x 128 pixels without padding"
    for path in output.glob("*.png"):
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(2**24)) > 50


def test_figure_3_without_scale_attention_is_refused_and_figure_4_is_drawn(
    folder: Path, tmp_path: Path
) -> None:
    run = save_run(tmp_path / "run", **{"MODEL.DYHEAD.SCALE_AWARE": False})
    words = ["explain", str(run), str(folder), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="Figure 3 is of the scale attention"):
        main([*words, "--figures", "3"])
    main([*words, "--figures", "4"])
    assert (tmp_path / "out" / "figure4_p3.png").exists()


@pytest.mark.parametrize(
    ("broken", "wants_ratios", "counted"),
    [((), False, 4), ((1,), False, 5), ((1, 2, 5), False, 6), ((1,), True, 6)],
)
def test_progress_ends_at_its_total(
    broken: tuple[int, ...],
    wants_ratios: bool,
    counted: int,
    runner: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next picture is read in the place of one of figure 4 that cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(6):
        path = folder / f"{index}.png"
        Image.new("RGB", (80, 60), (40 * index, 9, 90)).save(path)
        if index in broken:
            path.write_bytes(b"no picture")
    shown: list[Counted] = []
    monkeypatch.setattr(measure_module, "Progress", lambda n: shown.append(Counted(n)) or shown[0])
    measured = measure(runner, find_sources([str(folder)], tmp_path / "out"), wants_ratios)
    assert len(measured.unreadable) == len([index for index in broken if index < counted])
    assert shown[0].count == shown[0].total == counted
    assert all(count <= total for count, total in shown[0].history)


class Counted(Progress):
    """Remembers what it has shown."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.count, self.history = 0, []

    def advance(self, pictures: int = 1) -> None:
        super().advance(pictures)
        self.count += pictures
        self.history.append((self.count, self.total))


def test_other_figures_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "run", "photos", "--output", "out", "--figures", "5"])
    assert "names no figures: give 3, 4 or 3,4" in capsys.readouterr().err


def test_figure_4_of_a_detector_without_blocks_is_refused(folder: Path, tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", **{"MODEL.DYHEAD.NUM_CONVS": 0})
    words = ["explain", str(run), str(folder), "--figures", "4", "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="Figure 4 is of DyHead blocks"):
        main(words)
