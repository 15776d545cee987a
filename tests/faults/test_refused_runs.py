"""A run that is refused, whatever for, leaves an earlier run in its folder as it was."""

from pathlib import Path

import pytest
from shown_faults import ShownFault
from small_program import command_line

from dyhead.checkpoint.find import find_checkpoint
from dyhead.engine import parse_arguments
from dyhead.engine.train_net import main
from dyhead.errors import UserError
from dyhead.safe_io.lock import FileLock

pytestmark = pytest.mark.usefixtures("own_catalogs")
# The logs tell of the refused run, too; a lock that is given back is an empty file.
UNCOMPARED = ("log.txt", "env.txt", "run.lock")
SET_ASIDE = (
    "config.yaml",
    "metrics.json",
    "curves.png",
    "last_checkpoint",
    "model_best.pth",
    "model_final.pth",
    "model_final.safetensors",
    "inference",
    "evaluation",
    "report",
)
EVENTS = "events.out.tfevents.1.machine"
KEPT = (*SET_ASIDE, EVENTS, "model_0000000.pth")


def contents(folder: Path) -> dict[str, bytes]:
    """All that a run leaves, to be compared; a copy of its data set is written by each anew."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {
        str(path): (folder / path).read_bytes()
        for path in files
        if path.name not in UNCOMPARED and path.parts[0] != "repaired_annotations"
    }


def leave_earlier_run(folder: Path) -> None:
    """Write what is kept of a run; each folder holds one file."""
    for kept in KEPT:
        path = folder / kept if "." in kept or "_" in kept else folder / kept / "ap.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"VERSION: 2  # {kept} of the earlier run")


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("dyhead.evaluation.reports.draw_mosaic", lambda *_: None)
    monkeypatch.setattr("dyhead.engine.hooks.plot_curves", lambda *_: None)
    return command_line(tmp_path)


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


@pytest.mark.fault("a config, data set or weights that cannot be used, in a used folder")
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_run_leaves_the_earlier_one_as_it_was(
    arguments: list[str], tmp_path: Path, name: str, fault: ShownFault
) -> None:
    run = tmp_path / "run"
    leave_earlier_run(run)
    before = contents(run)
    changes, message = REFUSED[name]
    with fault.clear(), pytest.raises(UserError, match=message):
        main(parse_arguments([*arguments, *changes]))
    with fault.nothing_lost():
        assert contents(run) == before
    with fault.survived(), FileLock(run / "run.lock"):  # it has been given back
        assert not list(run.rglob(".*.tmp"))


@pytest.mark.fault("a new run in the folder of an earlier one")
def test_a_run_that_is_not_refused_sets_the_earlier_one_aside(
    arguments: list[str], tmp_path: Path, fault: ShownFault
) -> None:
    run = tmp_path / "run"
    leave_earlier_run(run)
    before = contents(run)
    main(parse_arguments([*arguments, "TEST.REPORT", "False"]))
    after = contents(run)
    with fault.nothing_lost():
        for name, content in before.items():
            top, *below = Path(name).parts
            assert top not in SET_ASIDE or after[str(Path(f"{top}.previous", *below))] == content
        assert after[f"events.previous/{EVENTS}"] == before[EVENTS]
    with fault.survived():
        assert not any("of the earlier run" in str(after.get(name, "")) for name in SET_ASIDE)
        assert EVENTS not in after  # TensorBoard would draw both as one
        assert not {"evaluation", "report", "model_best.pth"} & {
            Path(name).parts[0] for name in after
        }
        assert find_checkpoint(run)[0] == run / "model_final.pth"
    with fault.clear():
        assert "its metrics.json is kept as" in (run / "log.txt").read_text()
