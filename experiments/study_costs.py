"""The multiply-adds of a detector, which trainings of equal multiply-adds are divided by."""

import functools
import json
import subprocess
import sys
from pathlib import Path

from comparisons import Variant
from study_plan import config_file, fingerprint

from dyhead.config import load_config
from dyhead.data.num_classes import num_classes_key
from dyhead.errors import UserError

PROJECT = Path(__file__).resolve().parents[1]


@functools.cache
def count_multiply_adds(
    variant: Variant, num_classes: int, overrides: tuple[str, ...], folder: Path
) -> float:
    """Have `dyhead analyze` count a detector's multiply-adds; known ones are kept in a file.

    They are those of an image as high and wide as the config tests them at most, since not all
    costs grow with the image: a second stage has as many regions in a small one.

    Args:
        variant: the detector.
        num_classes: of the data, which RetinaNet has an output for at each of its nine anchors; 0
            leaves the config's.
        overrides: of its config besides its own.
        folder: of these files.

    Raises:
        UserError: there is no such number.
    """
    config = config_file(variant)
    options = (*variant.options, *overrides)
    cfg, _ = load_config(config, options)
    if num_classes:
        options += (num_classes_key(cfg), str(num_classes))
    longer = cfg.INPUT.MAX_SIZE_TEST
    size = (str(min(cfg.INPUT.MIN_SIZE_TEST or longer, longer)), str(longer))
    path = folder / f"{config.stem}-{fingerprint(config, options)}-{'x'.join(size)}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "dyhead", "analyze", "--config", str(config)]
        command += ["--size", *size, "--json", str(path), *options]
        print(f"Counting the multiply-adds of {variant.title}", flush=True)
        if subprocess.run(command, stdout=subprocess.DEVNULL, cwd=PROJECT).returncode:
            raise UserError(f"{variant.title} has no number of multiply-adds, see above.")
    return float(json.loads(path.read_text(encoding="utf-8"))["total"]["multiply_adds"])
