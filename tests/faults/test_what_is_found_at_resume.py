"""Files that a run finds in its folder at --resume are trusted as little as a download."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from shown_faults import ShownFault

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError, user_errors
from dyhead.safe_io.load import load_checkpoint_file

MakeConfig = Callable[..., CfgNode]

pytestmark = pytest.mark.usefixtures("without_pictures", "own_catalogs")


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.fault("a checkpoint with code in it at --resume")
@pytest.mark.parametrize("name", ["model.pth", "model.pkl"])
def test_code_in_a_checkpoint_does_not_run(
    make_config: MakeConfig, tmp_path: Path, name: str, fault: ShownFault
) -> None:
    cfg, mark = make_config(), tmp_path / "run by the file"
    Trainer(cfg).train()
    folder = Path(cfg.OUTPUT_DIR)
    (folder / name).write_bytes(pickle.dumps({"model": Hostile(mark)}))
    (folder / "last_checkpoint").write_text(name)
    with fault.clear(), pytest.raises(UserError, match=name), user_errors():
        Trainer(cfg).resume_or_load(resume=True)
    with fault.survived():
        assert not mark.exists()
    with fault.nothing_lost():
        assert load_checkpoint_file(folder / "model_final.pth")["iteration"] == 3


@pytest.mark.fault("a last_checkpoint that names no file, is empty or is no text")
@pytest.mark.parametrize("content", [b"model_0000777.pth", b"", b"\xff\x00\xfe", b" \n\n"])
def test_a_tag_that_names_nothing_is_said_to(
    make_config: MakeConfig, content: bytes, fault: ShownFault
) -> None:
    cfg = make_config()
    Trainer(cfg).train()
    tag = Path(cfg.OUTPUT_DIR, "last_checkpoint")
    tag.write_bytes(content)
    refusal = pytest.raises(UserError, match="last_checkpoint|0000777")
    with fault.clear(), refusal as caught, user_errors():
        Trainer(cfg).resume_or_load(resume=True)
    with fault.survived():
        assert "\n" not in str(caught.value)
        tag.write_text("model_final.pth")
        again = Trainer(cfg)
        again.resume_or_load(resume=True)
        assert again.start_iter == 4
    with fault.nothing_lost():
        assert load_checkpoint_file(tag.with_name("model_final.pth"))["iteration"] == 3


@pytest.mark.fault("--resume in a folder without a run")
def test_nothing_to_resume_begins_anew_and_says_so(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture, fault: ShownFault
) -> None:
    cfg = make_config()
    trainer = Trainer(cfg)
    with fault.clear(), caplog.at_level("INFO", "dyhead"):
        trainer.resume_or_load(resume=True)
        assert "Nothing to resume" in caplog.text
    with fault.survived():
        trainer.train()
    with fault.nothing_lost():
        assert load_checkpoint_file(Path(cfg.OUTPUT_DIR, "model_final.pth"))["iteration"] == 3


@pytest.mark.fault("a metrics.json that ends in the middle of a line")
def test_half_a_line_of_metrics_stops_no_resumed_run(
    make_config: MakeConfig, fault: ShownFault
) -> None:
    Trainer(make_config()).train()
    cfg = make_config(**{"SOLVER.MAX_ITER": 6})
    metrics = Path(cfg.OUTPUT_DIR, "metrics.json")
    whole = metrics.read_text()
    metrics.write_text(f'{whole}{{"iteration": 3, "total_lo')
    again = Trainer(cfg)
    again.resume_or_load(resume=True)
    with fault.survived():
        again.train()
    with fault.nothing_lost():
        assert metrics.read_text().startswith(whole)
        assert load_checkpoint_file(Path(cfg.OUTPUT_DIR, "model_final.pth"))["iteration"] == 5
    with fault.clear():  # the curves can be drawn, from all lines that are whole
        from dyhead.visualization.curves import plot_curves

        assert plot_curves(metrics, Path(cfg.OUTPUT_DIR, "curves.png")).stat().st_size > 0


@pytest.mark.fault("an OUTPUT_DIR that is a file")
def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path, fault: ShownFault) -> None:
    from dyhead.engine.output_lock import held_output_folder

    (tmp_path / "run").write_text("precious")
    for path in (tmp_path / "run", tmp_path / "run" / "below"):
        refusal = pytest.raises(UserError, match="OUTPUT_DIR cannot be written")
        with fault.clear(), refusal, held_output_folder(str(path)):
            pass
    with fault.nothing_lost():
        assert (tmp_path / "run").read_text() == "precious"
    with fault.survived(), held_output_folder(str(tmp_path / "other")):
        assert os.listdir(tmp_path / "other") == ["run.lock"]
