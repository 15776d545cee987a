"""Calls of experiments/study.py in a project whose trainings write scores at once."""

import json
from pathlib import Path
from typing import Any

import study

TRAIN_NET = """
import json, pathlib, sys
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
folder = pathlib.Path(options["OUTPUT_DIR"])
if options.get("MODEL.DYHEAD.NUM_CONVS") == "0" and options.get("SOLVER.BASE_LR") == "9.0":
    raise SystemExit("Error: no such detector")
(folder / "inference").mkdir()
ap = 40 + int(options["SEED"]) + 2 * ("MODEL.DYHEAD.NUM_CONVS" not in options)
scores = {"AP": ap, "AP50": 80, "AP75": 40, "APs": None}
(folder / "inference" / "scores.json").write_text(json.dumps(scores))
lines = [json.dumps({"iteration": step, "total_loss": 1.0}) for step in (19, 39, 49)]
lines.append(json.dumps({"iteration": 50, "bbox/AP": ap}))
(folder / "metrics.json").write_text("\\n".join(lines))
(folder / "model_final.pth").touch()
with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
    print(*sys.argv[1:], file=calls)
"""


def call(project: Path, *arguments: str) -> dict[str, Any]:
    data = ["--data", str(project / "cells"), "--tables", "detectors", "--jobs", "1"]
    study.main([*data, "--results", str(project), *arguments])
    return json.loads((project / "study.json").read_text())


def calls(project: Path) -> list[str]:
    path = project / "calls"
    return path.read_text().splitlines() if path.exists() else []
