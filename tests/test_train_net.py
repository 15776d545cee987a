"""`train_net.py` as a user runs it, on a tiny data set and a tiny detector."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchvision
import yaml
from PIL import Image
from small_program import PROJECT, call, command_line, log_of

import dyhead
from dyhead.checkpoint.model_card import describe, read_card
from dyhead.config import load_config
from dyhead.config.load import load_config_text
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.detector import load_detector
from dyhead.engine import Trainer, parse_arguments
from dyhead.engine.setup import begin_run
from dyhead.errors import UserError

pytestmark = pytest.mark.usefixtures("own_catalogs")


@pytest.fixture(scope="session")
def train_net() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_net", PROJECT / "train_net.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The command line of a two-step training into tmp_path/run."""
    return command_line(tmp_path)


def run(train_net: ModuleType, arguments: list[str]) -> Any:
    return train_net.main(parse_arguments(arguments))


def begin(train_net: ModuleType, arguments: list[str]) -> CfgNode:
    """Do what a run does before its first step, except for building the detector."""
    cfg = train_net.setup(parse_arguments(arguments))
    begin_run(cfg, is_new_run=False)
    return cfg


def test_setup_returns_the_frozen_config(train_net: ModuleType, arguments: list[str]) -> None:
    cfg = train_net.setup(parse_arguments(arguments))
    assert cfg.is_frozen()
    assert cfg.MODEL.ATSS.NUM_CLASSES == 2
    assert cfg.MODEL.DEVICE == "cpu"


def test_merged_config_loads_again(train_net: ModuleType, arguments: list[str]) -> None:
    cfg = begin(train_net, arguments)
    again, _ = load_config(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    assert json.dumps(again) == json.dumps(cfg)


def test_train_then_evaluate(train_net: ModuleType, arguments: list[str], tmp_path: Path) -> None:
    run(train_net, arguments)
    left = tmp_path / "run"
    assert (left / "config.yaml").read_text().startswith("# made from config.yaml")
    assert (left / "env.txt").read_text().startswith(f"dyhead {dyhead.__version__}")
    for name in ("config.yaml", "env.txt", "log.txt", "metrics.json", "curves.png"):
        assert (left / name).stat().st_size > 0
    for name in ("coco_instances_results.json", "ap.md", "scores.json", "predictions.png"):
        assert (left / "inference" / name).exists()

    weights = str(left / "model_final.pth")
    arguments[-1] = str(tmp_path / "evaluation")
    results = run(train_net, ["--eval-only", *arguments, "MODEL.WEIGHTS", weights])
    metrics = [json.loads(line) for line in (left / "metrics.json").read_text().splitlines()]
    assert results["bbox"]["AP"] == pytest.approx(metrics[-1]["bbox/AP"], nan_ok=True)
    log = log_of(tmp_path / "evaluation")
    assert "s per image" in log and "peak memory" in log and "ap.md" in log


def test_random_weights_are_evaluated_for_those_who_mean_it(
    train_net: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="random weights detect nothing"):
        run(train_net, ["--eval-only", *arguments, "MODEL.WEIGHTS", ""])
    results = run(train_net, ["--eval-only", "--allow-partial", *arguments, "MODEL.WEIGHTS", ""])
    assert "AP" in results["bbox"]
    assert "weights are random" in log_of(tmp_path / "run")


def test_colours_follow_from_the_weights_and_stay_for_the_rest_of_the_run(
    train_net: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    start = tmp_path / "resnet.pth"
    torch.save(torchvision.models.resnet18().state_dict(), start)
    arguments += ["MODEL.PIXELS_FROM_WEIGHTS", "True", "MODEL.WEIGHTS", str(start)]
    run(train_net, arguments)
    start.unlink()  # a resumed run does not need it
    run(train_net, ["--resume", *arguments, "SOLVER.MAX_ITER", "3"])
    final = str(tmp_path / "run" / "model_final.pth")
    run(train_net, ["--eval-only", *arguments, "MODEL.WEIGHTS", final])
    saved = load_config(tmp_path / "run" / "config.yaml")[0]
    card = read_card(final)
    assert card is not None
    for cfg in (saved, load_config_text(card.config, final), load_detector(final).cfg):
        assert (cfg.INPUT.FORMAT, cfg.MODEL.PIXELS_FROM_WEIGHTS) == ("RGB", False)
        assert cfg.MODEL.PIXEL_STD == [58.395, 57.12, 57.375]
    assert log_of(tmp_path / "run").count("was trained: INPUT.FORMAT RGB") == 3


@pytest.fixture
def whole(train_net: ModuleType, arguments: list[str]) -> dict[str, Any]:
    """The checkpoint of a whole detector, as a run of `arguments` saves it."""
    cfg = train_net.setup(parse_arguments(arguments))
    model = Trainer.build_model(cfg)
    return {"model": model.state_dict(), "dyhead": describe(cfg).as_plain()}


def spoil(what: str, checkpoint: dict[str, Any], path: Path) -> str:
    """Write a checkpoint in which something is wrong; returns its path."""
    weights = checkpoint["model"]
    if what == "a third missing":
        weights = {name: w for i, (name, w) in enumerate(weights.items()) if i % 3}
    elif what == "all NaN":
        weights = {name: torch.full_like(w, torch.nan) for name, w in weights.items()}
    card = dict(checkpoint["dyhead"])
    if what == "other classes":
        card["class_names"] = ["square", "triangle"]
    torch.save({"model": weights, "dyhead": card}, path)
    return str(path)


def test_useless_weights_are_not_evaluated(
    train_net: ModuleType, arguments: list[str], tmp_path: Path, whole: dict[str, Any]
) -> None:
    towers = ["MODEL.DYHEAD.NUM_CONVS", "0"]
    retina = ["MODEL.META_ARCHITECTURE", "DyHeadRetinaNet"]
    for what, options, message in (
        ("a third missing", [], r"lacks \d+ of the model's \d+ weights"),
        ("all NaN", [], "NaN or infinite values"),
        ("other classes", [], "checkpoint: triangle; only in the data set: circle"),
        ("another detector", retina, "spoilt.pth"),
        ("no blocks", towers, "lacks"),
        ("another number", ["MODEL.ATSS.NUM_CLASSES", "3"], "NUM_CLASSES is 3"),
    ):
        weights = ["MODEL.WEIGHTS", spoil(what, whole, tmp_path / "spoilt.pth")]
        with pytest.raises(UserError, match=message):
            run(train_net, ["--eval-only", *arguments, *options, *weights])


def test_a_refusal_is_one_sentence_and_exit_status_1(
    arguments: list[str], tmp_path: Path, whole: dict[str, Any]
) -> None:
    weights = ["MODEL.WEIGHTS", spoil("all NaN", whole, tmp_path / "spoilt.pth")]
    done = call(["--eval-only", *arguments, *weights])
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"Error: {weights[1]} holds NaN")


def test_resume_evaluates_the_latest_checkpoint(
    train_net: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    run(train_net, arguments)
    run(train_net, ["--eval-only", "--resume", *arguments, "MODEL.WEIGHTS", "absent.pth"])
    (tmp_path / "run" / "last_checkpoint").unlink()
    with pytest.raises(UserError, match="absent.pth does not exist"):
        run(train_net, ["--eval-only", "--resume", *arguments, "MODEL.WEIGHTS", "absent.pth"])


def test_unexpected_results_end_with_an_error(train_net: ModuleType, arguments: list[str]) -> None:
    expected = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 99.0, 0.1]]"]
    with pytest.raises(SystemExit):
        run(train_net, ["--eval-only", "--allow-partial", *arguments, *expected])


def test_resume_goes_on_and_a_new_run_starts_over(
    train_net: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    run(train_net, arguments)
    run(train_net, ["--resume", *arguments, "SOLVER.MAX_ITER", "3"])
    assert "Starting training from iteration 2" in log_of(tmp_path / "run")
    run(train_net, arguments)
    assert (tmp_path / "run" / "metrics.json.previous").exists()
    assert len((tmp_path / "run" / "metrics.json").read_text().splitlines()) <= 2
    own = str(tmp_path / "run" / "model_final.pth")  # set aside after it was loaded
    run(train_net, [*arguments, "MODEL.WEIGHTS", own])
    assert Path(own).exists() and Path(f"{own}.previous2").exists()


def test_an_evaluation_from_another_folder_keeps_the_config_of_the_training(
    train_net: ModuleType,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments[arguments.index("DATASETS.COCO_JSON") + 1] = "[[tiny, tiny.json, images]]"
    cfg = begin(train_net, arguments)
    config = Path(cfg.OUTPUT_DIR, "config.yaml")
    trained = yaml.safe_load(config.read_text())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    line = ["--eval-only", "--config", str(config)]
    assert json.dumps(begin(train_net, line)) == json.dumps(cfg)
    assert not Path(f"{config}.previous").exists()
    begin(train_net, [*line, "TEST.DETECTIONS_PER_IMAGE", "7"])
    assert yaml.safe_load(Path(f"{config}.previous").read_text()) == trained


def test_a_start_that_fails_leaves_the_earlier_run_resumable(
    train_net: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    run(train_net, arguments)
    with pytest.raises(UserError, match="OPTIMIZER"):
        run(train_net, [*arguments, "SOLVER.OPTIMIZER", "foo"])
    run(train_net, ["--resume", *arguments, "SOLVER.MAX_ITER", "3"])
    assert "Starting training from iteration 2" in log_of(tmp_path / "run")


def test_num_gpus_0_is_the_cpu(train_net: ModuleType, arguments: list[str]) -> None:
    index = arguments.index("MODEL.DEVICE")
    del arguments[index : index + 2]
    assert train_net.setup(parse_arguments(["--num-gpus", "0", *arguments])).MODEL.DEVICE == "cpu"


def test_mixed_precision_on_the_cpu_is_bfloat16(
    train_net: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    run(train_net, [*arguments, "SOLVER.AMP.ENABLED", "True", "TEST.PRECISION", "bfloat16"])
    log = log_of(tmp_path / "run")
    assert "Training in mixed precision: bfloat16" in log and "Evaluating in bfloat16" in log
    with pytest.raises(UserError, match="SOLVER.AMP.DTYPE 'float16' needs a GPU"):
        float16 = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "float16"]
        run(train_net, [*arguments, *float16])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["MODEL.ATSS.NUM_CLASSES", "3"], "NUM_CLASSES"),
        (["MODEL.WEIGHTS", "absent.pth"], "absent.pth"),
        (["DATASETS.TRAIN", "('tinny',)"], "tiny"),
        (["SOLVER.OPTIMIZER", "ADAM"], "SOLVER.OPTIMIZER"),
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["--eval-only", "DATASETS.TEST", "()"], "DATASETS.TEST is empty"),
        (["SOLVER.IMS_PER_BATCH", "0"], "SOLVER.IMS_PER_BATCH"),
        (["SOLVER.REFERENCE_WORLD_SIZE", "3"], "SOLVER.IMS_PER_BATCH"),
        (["SOLVER.LR_SCHEDULER_NAME", "foo"], "foo"),
        (["TEST.AUG.ENABLED", "True", "TEST.AUG.MERGE", "mean"], "TEST.AUG.MERGE"),
        (["TEST.AUG.ENABLED", "True", "MODEL.META_ARCHITECTURE", "ProposalNetwork"], "merges"),
        (
            ["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.NUM_CONVS", "0"],
            "DyHeadRetinaNet",
        ),
        (["OUTPUT_DIR", "/dev/null/run"], "OUTPUT_DIR cannot be written"),
    ],
)
def test_mistakes_are_user_errors(
    train_net: ModuleType, arguments: list[str], extra: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(train_net, [*arguments, *extra])


def test_a_config_is_needed(train_net: ModuleType) -> None:
    with pytest.raises(UserError, match="--config"):
        train_net.setup(parse_arguments([]))


def test_a_damaged_image_stops_the_evaluation_with_one_sentence(
    arguments: list[str], tmp_path: Path
) -> None:
    damaged = tmp_path / "images" / "2.png"
    Image.open(damaged).save(damaged, format="jpeg")  # its header is whole, so no check sees it
    damaged.write_bytes(damaged.read_bytes()[:2000])
    options = ["--eval-only", "--allow-partial", "DATALOADER.NUM_WORKERS", "1"]
    done = call([*options[:2], *arguments, *options[2:]])
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"Error: The image {damaged} can't be")


def test_unknown_key_on_the_command_line_gets_one_sentence(arguments: list[str]) -> None:
    done = call([*arguments, "SOLVER.MAX_ITERS", "3"])
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("Error: the command line: unknown key")
    assert "SOLVER.MAX_ITER" in done.stderr and "Traceback" not in done.stderr


def outcome(output_dir: Path) -> tuple[dict[str, float], torch.Tensor]:
    """The losses of the last record (medians over 20 steps) and all final weights in one vector."""
    lines = (output_dir / "metrics.json").read_text().splitlines()
    record = next(json.loads(line) for line in reversed(lines) if "total_loss" in line)
    model = torch.load(output_dir / "model_final.pth", weights_only=True)["model"]
    weights = torch.cat([weight.flatten().float() for weight in model.values()])
    return {name: value for name, value in record.items() if "loss" in name}, weights


on_embedded_host = pytest.mark.skipif(
    HOST == "detectron2", reason="genuine Detectron2 trains several processes on GPUs only"
)


@on_embedded_host
@pytest.mark.slow
def test_processes_train_as_one(arguments: list[str], tmp_path: Path) -> None:
    # Rounding must not grow to what is looked for. AdamW's first steps follow the gradients' signs
    # alone, and SGD at a rate of 0.01 turns a change of 1e-7 in the weights into one of 4e-3 in the
    # losses. At 0.001 that stays below 1e-6, and summing gradients instead of averaging gives 6e-2.
    arguments = [*arguments, "SOLVER.MAX_ITER", "20", "SOLVER.OPTIMIZER", "SGD"]
    ways: dict[str, tuple[list[str], list[str]]] = {
        "one": ([], []),
        "two": (["--num-gpus", "2"], []),
        "torchrun": ([], ["-m", "torch.distributed.run", "--nproc_per_node", "2"]),
    }
    outcomes = {}
    for name, (options, before) in ways.items():
        arguments[arguments.index("OUTPUT_DIR") + 1] = str(tmp_path / name)
        done = call([*options, *arguments, "SOLVER.BASE_LR", "0.001"], *before)
        assert done.returncode == 0, done.stdout + done.stderr
        size = 1 if name == "one" else 2
        assert f"Process 0 of {size}" in log_of(tmp_path / name)
        outcomes[name] = outcome(tmp_path / name)
    one_losses, one_weights = outcomes["one"]
    for name in ("two", "torchrun"):
        losses, weights = outcomes[name]
        assert losses == pytest.approx(one_losses, abs=1e-4)
        torch.testing.assert_close(weights, one_weights, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_user_error_in_several_processes_gets_one_sentence(arguments: list[str]) -> None:
    done = call(["--num-gpus", "2", *arguments, "MODEL.ATSS.NUM_CLASSES", "3"])
    assert done.returncode == 1
    assert done.stderr.count("Error: MODEL.ATSS.NUM_CLASSES") == 1
    assert "Traceback" not in done.stderr


@on_embedded_host
@pytest.mark.slow
def test_nan_stops_several_processes_with_all_images_named(
    arguments: list[str], tmp_path: Path
) -> None:
    done = call(["--num-gpus", "2", *arguments, "SOLVER.BASE_LR", "1e30", "SOLVER.MAX_ITER", "9"])
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.match(r"Error: Step \d+: a loss or gradient is not finite", last)
    assert last.count(".png") == 2


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


def test_output_config_is_plain_yaml(train_net: ModuleType, arguments: list[str]) -> None:
    cfg = begin(train_net, arguments)
    assert yaml.safe_load(Path(cfg.OUTPUT_DIR, "config.yaml").read_text())["VERSION"] == 2
