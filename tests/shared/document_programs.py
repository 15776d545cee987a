"""Runs a program that the documents name, a training of it in two steps on tiny pictures.

As `python document_programs.py PROGRAM ARGUMENTS...`; `write_programs` puts each of them on a path
under its own name, so that a shell runs the documents' lines as they stand.
"""

import os
import re
import sys
from pathlib import Path

# Where a line has no other value. The detector stays as it begins, and finds something everywhere.
TINY = {
    "MODEL.DYHEAD.NUM_CONVS": "1",
    "MODEL.ATSS.PRIOR_PROB": "0.6",
    "MODEL.ATSS.PREDICTOR_INIT_STD": "0.3",
    "INPUT.MIN_SIZE_TRAIN": "(64,)",
    "INPUT.MAX_SIZE_TRAIN": "96",
    "INPUT.MIN_SIZE_TEST": "64",
    "INPUT.MAX_SIZE_TEST": "96",
    "TEST.AUG.MIN_SIZES": "(64,)",
    "DATALOADER.NUM_WORKERS": "0",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.BASE_LR": "1e-6",
    "SOLVER.WARMUP_ITERS": "1",
    "SOLVER.MAX_ITER": "2",
    "SOLVER.CHECKPOINT_PERIOD": "1",
    "TEST.EVAL_PERIOD": "2",
}
# Whatever a line has.
LENGTHS = {"SOLVER.MAX_ITER": "2", "SOLVER.EPOCHS": "1", "SOLVER.MINUTES": "0.05"}
PROGRAMS = ("dyhead", "python", "torchrun", "pip", "make")
ONLY_PARSED = ("pip", "make")  # they install packages; see tests/docs/test_commands_parse.py
_TRAINS = re.compile(r"^(?:\S+ )*?(?:train_\w+\.py|dyhead train)(?: |$)")
_DOWNLOADS = re.compile(r"\bdyhead_r50_\w+")  # configs that start from weights of the model zoo


def write_programs(folder: Path) -> None:
    """Write a script for each program into a folder, which is made."""
    folder.mkdir()
    for name in PROGRAMS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        script.chmod(0o755)


def main(program: str, arguments: list[str]) -> None:
    """Become the program, with the keys of a tiny training beside its own where it trains."""
    if program in ONLY_PARSED:
        return
    modules = {"dyhead": ["-m", "dyhead"], "torchrun": ["-m", "torch.distributed.run"]}
    line = [*modules.get(program, []), *arguments]
    if _TRAINS.search(" ".join(line)):
        line += [word for pair in _tiny_keys(line).items() for word in pair]
    os.execv(sys.executable, [sys.executable, *line])


def _tiny_keys(line: list[str]) -> dict[str, str]:
    from_random = {"MODEL.WEIGHTS": ""} if _DOWNLOADS.search(" ".join(line)) else {}
    keys = {key: value for key, value in (TINY | from_random).items() if key not in line}
    return keys | {key: value for key, value in LENGTHS.items() if key in line}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
