"""`dyhead train` and `dyhead eval` do what `train_net.py` does."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from dyhead.cli import eval as eval_command
from dyhead.cli import train
from dyhead.cli.main import main
from dyhead.d2 import HOST
from dyhead.engine import argument_parser

pytestmark = pytest.mark.usefixtures("own_catalogs")

TINY = [
    *("MODEL.DEVICE", "cpu", "MODEL.DYHEAD.NUM_CONVS", "1", "DATALOADER.NUM_WORKERS", "0"),
    *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "0"),
    *("TEST.REPORT", "False"),
]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Overrides that name a data set of two images and an output folder."""
    images = []
    for index in range(2):
        Image.new("RGB", (64, 64), (index * 90, 120, 60)).save(tmp_path / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "height": 64, "width": 64})
    box = {"category_id": 1, "bbox": [8, 8, 40, 40], "area": 1600, "iscrowd": 0}
    annotations = [{"id": i + 1, "image_id": i, **box} for i in range(2)]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "one"}],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    entry = f"[[small_{tmp_path.name}, {tmp_path}/data.json, {tmp_path}]]"
    names = f"('small_{tmp_path.name}',)"
    return [
        *("DATASETS.COCO_JSON", entry, "DATASETS.TRAIN", names, "DATASETS.TEST", names),
        *("OUTPUT_DIR", str(tmp_path / "run")),
    ]


def options_of(parser: argparse.ArgumentParser) -> dict[str, object]:
    """Option strings and defaults of a parser."""
    return {
        name: parser.get_default(action.dest)
        for action in parser._actions
        for name in action.option_strings
        if name not in ("-h", "--help")
    }


@pytest.mark.parametrize(
    ("module", "without"), [(train, "--allow-partial"), (eval_command, "--resume")]
)
def test_the_options_are_those_of_train_net(module: ModuleType, without: str) -> None:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    theirs = options_of(argument_parser())
    assert theirs.pop("--eval-only") is theirs.pop(without) is False
    assert options_of(parser) == theirs


def test_trains_then_evaluates_a_packaged_config_from_any_folder(
    data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    main(["train", "--config", "quickstart", *TINY, *data])
    run = tmp_path / "run"
    assert (run / "model_final.pth").is_file() and (run / "curves.png").is_file()
    config = (run / "config.yaml").read_text()
    weights = ["MODEL.WEIGHTS", str(run / "model_final.pth")]
    again = [*data[:-1], str(tmp_path / "again")]
    main(["eval", "--config", str(run / "config.yaml"), *again, *weights])
    main(["eval", str(run)])
    main(["eval", str(run / "model_final.pth"), "OUTPUT_DIR", str(tmp_path / "third")])
    expected = scores_of(run)
    for folder in (tmp_path / "again", run / "evaluation", tmp_path / "third"):
        assert scores_of(folder) == pytest.approx(expected, nan_ok=True)
        assert not (folder / "model_final.pth").exists()
    assert (run / "config.yaml").read_text() == config, "an evaluation leaves the run as it was"


def scores_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "inference" / "scores.json").read_text())


def test_mistakes_end_with_one_sentence(data: list[str]) -> None:
    for line, message in (
        (["train", "--config", "quikstart"], "did you mean quickstart"),
        (["train"], "No config"),
        (["eval"], "No config"),
        (["eval", "absent"], "absent does not exist"),
        (["eval", "absent", "TEST.AUG.ENABLED=True"], "'TEST.AUG.ENABLED=True' has no partner"),
        (["eval", "absent", "--config", "quickstart", *data], "absent does not exist"),
        (["eval", "--config", "quickstart", *data, "MODEL.WEIGHTS", "absent.pth"], "absent.pth"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(line)
        assert str(stopped.value).startswith("Error: ") and message in str(stopped.value)


@pytest.mark.slow
@pytest.mark.skipif(
    HOST == "detectron2", reason="genuine Detectron2 trains several processes on GPUs only"
)
@pytest.mark.parametrize(
    "command",
    [
        "-m dyhead train --num-gpus 2",
        "-m torch.distributed.run --nproc_per_node 2 -m dyhead train",
    ],
)
def test_several_processes_train(data: list[str], tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, *command.split(), "--config", "quickstart", *TINY, *data],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model_final.pth").is_file()
    log = (tmp_path / "run" / "log.txt").read_text()
    assert re.search(r"World size: 2|Process 0 of 2", log)  # in the words of either host
