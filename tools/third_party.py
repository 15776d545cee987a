"""Run other projects' own programs, written for Detectron2, on the host that `dyhead.d2` chooses.

    DYNAMICHEAD_SOURCE=~/DynamicHead VOVNET_SOURCE=~/vovnet-detectron2 \\
        CENTERNET2_SOURCE=~/CenterNet2 python tools/third_party.py

The variables name checkouts of microsoft/DynamicHead, youngwanLEE/vovnet-detectron2 and
xingyizhou/CenterNet2; what has none is skipped, and said to be. Each trial is a process that calls
the `main` of the project's unchanged train_net.py with one of its unchanged configs, but for sizes:
two steps of training on a few generated images under COCO's names, then the evaluation. On the
embedded host the name `detectron2` is `dyhead.d2_alias`'s.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
IMAGES = {"train2017": 4, "val2017": 2}
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "INPUT.MIN_SIZE_TRAIN": "(96,)",
    "INPUT.MIN_SIZE_TEST": "96",
    "INPUT.MAX_SIZE_TEST": "160",
    "DATALOADER.NUM_WORKERS": "0",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.MAX_ITER": "2",
    "SOLVER.STEPS": "()",
    "SOLVER.BASE_LR": "1e-5",
}


class Trial(NamedTuple):
    """A config of a checkout, and the environment variable that names the checkout."""

    variable: str
    config: str


TRIALS = [
    Trial("DYNAMICHEAD_SOURCE", "dyhead_r50_atss_fpn_1x.yaml"),
    Trial("DYNAMICHEAD_SOURCE", "dyhead_r50_rcnn_fpn_1x.yaml"),
    Trial("DYNAMICHEAD_SOURCE", "dyhead_r50_retina_fpn_1x.yaml"),
    Trial("DYNAMICHEAD_SOURCE", "dyhead_swint_atss_fpn_2x_ms.yaml"),
    Trial("VOVNET_SOURCE", "faster_rcnn_V_19_slim_FPNLite_3x.yaml"),
    Trial("CENTERNET2_SOURCE", "CenterNet-FPN_R50_1x.yaml"),
    Trial("CENTERNET2_SOURCE", "CenterNet2-F_R50_1x.yaml"),
]


def main() -> int:
    """Run every trial that has a checkout; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trial", type=int, help="run one trial in this process (its number)")
    trial = parser.parse_args().trial
    if trial is not None:
        run_program(TRIALS[trial])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_small_coco(Path(folder))
        return sum(not run_apart(index, Path(folder)) for index in range(len(TRIALS)))


def run_apart(index: int, folder: Path) -> bool:
    """Run a trial in a process of its own and print how it ended; whether it did not fail."""
    trial = TRIALS[index]
    name = f"{trial.variable.removesuffix('_SOURCE')} {trial.config}"
    if not os.environ.get(trial.variable):
        print(f"skipped  {name}: {trial.variable} names no checkout", flush=True)
        return True
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    variables = {"DETECTRON2_DATASETS": str(folder), "PYTHONPATH": os.pathsep.join(paths)}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--trial", str(index)],
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begin
    print(f"{'failed ' if done.returncode else 'passed '}  {name} ({seconds:.0f} s)", flush=True)
    if done.returncode:
        print("\n".join((done.stdout + done.stderr).splitlines()[-25:]), flush=True)
    else:
        print(f"         {done.stdout.splitlines()[-1]}", flush=True)
    return done.returncode == 0


def run_program(trial: Trial) -> None:
    """Train and evaluate by the program of a checkout, and print the losses and the AP.

    Raises:
        RuntimeError: a loss is missing or not finite, or nothing was evaluated.
    """
    from dyhead import d2_alias

    d2_alias.install()
    checkout = Path(os.environ[trial.variable]).resolve()
    program = load_program(checkout)
    output = Path("output", trial.config).resolve()
    options = [part for option in {**SMALL, "OUTPUT_DIR": str(output)}.items() for part in option]
    arguments = program.default_argument_parser().parse_args(
        ["--config-file", str(checkout / "configs" / trial.config), *options]
    )
    results = program.launch(program.main, arguments.num_gpus, args=(arguments,))
    losses = read_losses(output / "metrics.json")
    if not losses or not all(math.isfinite(loss) for loss in losses.values()):
        raise RuntimeError(f"The losses of {trial.config} are {losses}.")
    from dyhead.d2 import HOST

    print(f"on {HOST}: {losses}")
