"""`train_net.py` as a user runs it, on a tiny data set and a tiny detector."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
import yaml
from loaded_train_net import run, train_net
from small_program import PROJECT, call, command_line, log_of

import dyhead
from dyhead.checkpoint.model_card import read_card
from dyhead.config import load_config
from dyhead.config.load import load_config_text
from dyhead.d2.config import CfgNode
from dyhead.detector import load_detector
from dyhead.engine import parse_arguments
from dyhead.engine.setup import begin_run
from dyhead.errors import UserError

pytestmark = pytest.mark.usefixtures("own_catalogs")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The command line of a two-step training into tmp_path/run."""
    return command_line(tmp_path)


def begin(arguments: list[str]) -> CfgNode:
    """Do what a run does before its first step, except for building the detector."""
    cfg = train_net.setup(parse_arguments(arguments))
    begin_run(cfg, is_new_run=False)
    return cfg


def test_setup_returns_the_frozen_config(arguments: list[str]) -> None:
    cfg = train_net.setup(parse_arguments(arguments))
    assert cfg.is_frozen()
    assert cfg.MODEL.ATSS.NUM_CLASSES == 2
    assert cfg.MODEL.DEVICE == "cpu"


def test_merged_config_loads_again(arguments: list[str]) -> None:
    cfg = begin(arguments)
    again, _ = load_config(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    assert json.dumps(again) == json.dumps(cfg)


def test_train_then_evaluate(arguments: list[str], tmp_path: Path) -> None:
    run(arguments)
    left = tmp_path / "run"
    assert (left / "config.yaml").read_text().startswith("# made from config.yaml")
    assert (left / "env.txt").read_text().startswith(f"dyhead {dyhead.__version__}")
    for name in ("config.yaml", "env.txt", "log.txt", "metrics.json", "curves.png"):
        assert (left / name).stat().st_size > 0
    for name in ("coco_instances_results.json", "ap.md", "scores.json", "predictions.png"):
        assert (left / "inference" / name).exists()

    weights = str(left / "model_final.pth")
    arguments[-1] = str(tmp_path / "evaluation")
    results = run(["--eval-only", *arguments, "MODEL.WEIGHTS", weights])
    metrics = [json.loads(line) for line in (left / "metrics.json").read_text().splitlines()]
    assert results["bbox"]["AP"] == pytest.approx(metrics[-1]["bbox/AP"], nan_ok=True)
    log = log_of(tmp_path / "evaluation")
    assert "s per image" in log and "peak memory" in log and "ap.md" in log


def test_random_weights_are_evaluated_for_those_who_mean_it(
    arguments: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="random weights detect nothing"):
        run(["--eval-only", *arguments, "MODEL.WEIGHTS", ""])
    results = run(["--eval-only", "--allow-partial", *arguments, "MODEL.WEIGHTS", ""])
    assert "AP" in results["bbox"]
    assert "weights are random" in log_of(tmp_path / "run")


def test_colours_follow_from_the_weights_and_stay_for_the_rest_of_the_run(
    arguments: list[str], tmp_path: Path
) -> None:
    start = tmp_path / "resnet.pth"
    torch.save(torchvision.models.resnet18().state_dict(), start)
    arguments += ["MODEL.PIXELS_FROM_WEIGHTS", "True", "MODEL.WEIGHTS", str(start)]
    run(arguments)
    start.unlink()  # a resumed run does not need it
    run(["--resume", *arguments, "SOLVER.MAX_ITER", "3"])
    final = str(tmp_path / "run" / "model_final.pth")
    run(["--eval-only", *arguments, "MODEL.WEIGHTS", final])
    saved = load_config(tmp_path / "run" / "config.yaml")[0]
    card = read_card(final)
    assert card is not None
    for cfg in (saved, load_config_text(card.config, final), load_detector(final).cfg):
        assert (cfg.INPUT.FORMAT, cfg.MODEL.PIXELS_FROM_WEIGHTS) == ("RGB", False)
        assert cfg.MODEL.PIXEL_STD == [58.395, 57.12, 57.375]
    assert log_of(tmp_path / "run").count("was trained: INPUT.FORMAT RGB") == 3


def test_resume_evaluates_the_latest_checkpoint(arguments: list[str], tmp_path: Path) -> None:
    run(arguments)
    run(["--eval-only", "--resume", *arguments, "MODEL.WEIGHTS", "absent.pth"])
    (tmp_path / "run" / "last_checkpoint").unlink()
    with pytest.raises(UserError, match="absent.pth does not exist"):
        run(["--eval-only", "--resume", *arguments, "MODEL.WEIGHTS", "absent.pth"])


def test_resume_goes_on_and_a_new_run_starts_over(arguments: list[str], tmp_path: Path) -> None:
    run(arguments)
    run(["--resume", *arguments, "SOLVER.MAX_ITER", "3"])
    assert "Starting training from iteration 2" in log_of(tmp_path / "run")
    run(arguments)
    assert (tmp_path / "run" / "metrics.json.previous").exists()
    assert len((tmp_path / "run" / "metrics.json").read_text().splitlines()) <= 2
    own = str(tmp_path / "run" / "model_final.pth")  # set aside after it was loaded
    run([*arguments, "MODEL.WEIGHTS", own])
    assert Path(own).exists() and Path(f"{own}.previous2").exists()


def test_what_finds_nothing_to_resume_is_a_new_run(arguments: list[str], tmp_path: Path) -> None:
    run(arguments)
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    (tmp_path / "run" / "last_checkpoint").unlink()
    run(["--resume", *arguments])
    assert "Nothing to resume" in log_of(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.json.previous").read_bytes() == before


def test_an_evaluation_from_another_folder_keeps_the_config_of_the_training(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments[arguments.index("DATASETS.COCO_JSON") + 1] = "[[tiny, tiny.json, images]]"
    cfg = begin(arguments)
    config = Path(cfg.OUTPUT_DIR, "config.yaml")
    trained = yaml.safe_load(config.read_text())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    line = ["--eval-only", "--config", str(config)]
    assert json.dumps(begin(line)) == json.dumps(cfg)
    assert not Path(f"{config}.previous").exists()
    begin([*line, "TEST.DETECTIONS_PER_IMAGE", "7"])
    assert yaml.safe_load(Path(f"{config}.previous").read_text()) == trained


def test_a_start_that_fails_leaves_the_earlier_run_resumable(
    arguments: list[str], tmp_path: Path
) -> None:
    run(arguments)
    with pytest.raises(UserError, match="OPTIMIZER"):
        run([*arguments, "SOLVER.OPTIMIZER", "foo"])
    run(["--resume", *arguments, "SOLVER.MAX_ITER", "3"])
    assert "Starting training from iteration 2" in log_of(tmp_path / "run")


def test_num_gpus_0_is_the_cpu(arguments: list[str]) -> None:
    index = arguments.index("MODEL.DEVICE")
    del arguments[index : index + 2]
    assert train_net.setup(parse_arguments(["--num-gpus", "0", *arguments])).MODEL.DEVICE == "cpu"


def test_mixed_precision_on_the_cpu_is_bfloat16(arguments: list[str], tmp_path: Path) -> None:
    run([*arguments, "SOLVER.AMP.ENABLED", "True", "TEST.PRECISION", "bfloat16"])
    log = log_of(tmp_path / "run")
    assert "Training in mixed precision: bfloat16" in log and "Evaluating in bfloat16" in log
    with pytest.raises(UserError, match="SOLVER.AMP.DTYPE 'float16' needs a GPU"):
        float16 = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "float16"]
        run([*arguments, *float16])


@pytest.mark.slow
def test_resume_after_a_kill(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "train_net.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "SOLVER.MAX_ITER", "1000"], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "model_0000004.pth" in line:
                process.kill()
                break
    done = call(["--resume", *arguments, "SOLVER.MAX_ITER", "8"])
    assert done.returncode == 0, done.stderr
    start = re.findall(r"Starting training from iteration (\d+)", log_of(tmp_path / "run"))
    assert int(start[-1]) >= 5


def test_output_config_is_plain_yaml(arguments: list[str]) -> None:
    cfg = begin(arguments)
    assert yaml.safe_load(Path(cfg.OUTPUT_DIR, "config.yaml").read_text())["VERSION"] == 2
