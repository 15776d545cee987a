"""`train_net.py` refuses what cannot be used, in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from loaded_train_net import run, train_net
from PIL import Image
from small_program import call, command_line

from dyhead.checkpoint.model_card import describe
from dyhead.engine import Trainer, parse_arguments
from dyhead.errors import UserError

pytestmark = pytest.mark.usefixtures("own_catalogs")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The command line of a two-step training into tmp_path/run."""
    return command_line(tmp_path)


@pytest.fixture
def whole(arguments: list[str]) -> dict[str, Any]:
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
    arguments: list[str], tmp_path: Path, whole: dict[str, Any]
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
            run(["--eval-only", *arguments, *options, *weights])


def test_a_refusal_is_one_sentence_and_exit_status_1(
    arguments: list[str], tmp_path: Path, whole: dict[str, Any]
) -> None:
    weights = ["MODEL.WEIGHTS", spoil("all NaN", whole, tmp_path / "spoilt.pth")]
    done = call(["--eval-only", *arguments, *weights])
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"Error: {weights[1]} holds NaN")


def test_unexpected_results_end_with_an_error(arguments: list[str]) -> None:
    expected = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 99.0, 0.1]]"]
    with pytest.raises(SystemExit):
        run(["--eval-only", "--allow-partial", *arguments, *expected])


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
def test_mistakes_are_user_errors(arguments: list[str], extra: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run([*arguments, *extra])


def test_a_config_is_needed() -> None:
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
