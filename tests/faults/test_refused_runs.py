"""A run that is refused, whatever for, leaves an earlier run in its folder as it was."""

from pathlib import Path

import pytest
from tiny_training import write_tiny_training

from dyhead.engine import parse_arguments
from dyhead.engine.train_net import main
from dyhead.errors import UserError

pytestmark = pytest.mark.usefixtures("own_catalogs")
KEPT = ("config.yaml", "metrics.json", "last_checkpoint", "model_final.pth", "model_0000000.pth")


def contents(folder: Path) -> dict[str, bytes]:
    """All that a run leaves but the logs, which tell of the refused one too."""
    names = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return {name: found for name, found in names.items() if name not in ("log.txt", "env.txt")}


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("dyhead.evaluation.reports.draw_mosaic", lambda *_: None)
    monkeypatch.setattr("dyhead.engine.hooks.plot_curves", lambda *_: None)
    return write_tiny_training(tmp_path)


REFUSED = {
    "a value outside of its range": (["SOLVER.BASE_LR", "-1.0"], "SOLVER.BASE_LR"),
    "a batch that the processes cannot share": (["SOLVER.REFERENCE_WORLD_SIZE", "3"], "IMS_PER"),
    "an unknown optimizer": (["SOLVER.OPTIMIZER", "LION"], "SOLVER.OPTIMIZER 'LION'"),
    "an unknown schedule": (["SOLVER.LR_SCHEDULER_NAME", "Poly"], "Poly"),
    "an unknown sampler": (["DATALOADER.SAMPLER_TRAIN", "Mine"], "Mine"),
    "an unknown detector": (["MODEL.META_ARCHITECTURE", "YOLO"], "YOLO"),
    "channels that the norms cannot share": (["MODEL.DYHEAD.CHANNELS", "30"], "DYHEAD.CHANNELS"),
    "weights that are not there": (["MODEL.WEIGHTS", "absent.pth"], "absent.pth"),
    "a data set that is not there": (["DATASETS.TEST", "('absent',)"], "absent"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_run_leaves_the_earlier_one_as_it_was(
    arguments: list[str], tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for kept in KEPT:
        (run / kept).write_text(f"VERSION: 2  # {kept} of the earlier run")
    before = contents(run)
    changes, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        main(parse_arguments([*arguments, *changes]))
    assert contents(run) == before


def test_a_run_that_is_not_refused_sets_the_earlier_one_aside(
    arguments: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for kept in KEPT:
        (run / kept).write_text(f"VERSION: 2  # {kept} of the earlier run")
    main(parse_arguments(arguments))
    for kept in ("config.yaml", "metrics.json", "last_checkpoint"):
        assert "earlier run" in (run / f"{kept}.previous").read_text()
        assert "earlier run" not in (run / kept).read_text()
