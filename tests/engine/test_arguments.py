"""The command line of `train_net.py`."""

import pytest

from dyhead.engine.arguments import parse_arguments


@pytest.mark.parametrize("option", ["--config", "--config-file"])
def test_both_names_of_the_config_option(option: str) -> None:
    assert parse_arguments([option, "a.yaml"]).config_file == "a.yaml"


def test_defaults_are_those_of_detectron2() -> None:
    args = parse_arguments([])
    assert (args.config_file, args.resume, args.eval_only) == ("", False, False)
    assert (args.num_gpus, args.num_machines, args.machine_rank) == (1, 1, 0)
    assert args.opts == []


@pytest.mark.parametrize(
    "line",
    [
        ["--config", "a.yaml", "--num-gpus", "2", "SEED", "-1", "MODEL.WEIGHTS", ""],
        ["SEED", "-1", "MODEL.WEIGHTS", "", "--config", "a.yaml", "--num-gpus", "2"],
        ["--config", "a.yaml", "SEED", "-1", "MODEL.WEIGHTS", "", "--num-gpus", "2"],
    ],
)
def test_overrides_may_stand_anywhere(line: list[str]) -> None:
    args = parse_arguments(line)
    assert args.opts == ["SEED", "-1", "MODEL.WEIGHTS", ""]
    assert (args.num_gpus, args.config_file) == (2, "a.yaml")
