"""A program of torch.export is the detector, in a process that knows its operators alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_runs import save_run

from dyhead.detector import load_detector
from dyhead.errors import UserError
from dyhead.export import export_torch
from dyhead.export.exporting import check_pytorch

RUN = """
import sys
import numpy as np, torch
import dyhead.ops
program = torch.export.load(sys.argv[1]).module()
images = torch.from_numpy(np.load(sys.argv[2]))
with torch.no_grad():
    np.savez(sys.argv[3], *[output.numpy() for output in program(images)])
print(*sorted(name for name in sys.modules if name.startswith("dyhead.modeling")))
"""


@pytest.mark.slow
def test_a_fresh_process_computes_the_same(ready, pictures, make_picture, tmp_path):
    path = tmp_path / "model.pt2"
    check = export_torch(ready, path, pictures=pictures)
    assert check.compared > 20
    images = np.stack([make_picture(100, 60, seed).transpose(2, 0, 1) for seed in range(3)])
    np.save(tmp_path / "images.npy", images)
    files = path, tmp_path / "images.npy", tmp_path / "found.npz"
    command = [sys.executable, "-c", RUN, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""  # nothing of the detectors is needed
    boxes, scores, classes, counts = np.load(files[2]).values()
    with torch.no_grad():
        expected = ready.model([{"image": torch.from_numpy(image)} for image in images])
    for index, output in enumerate(expected):
        found = output["instances"]
        assert counts[index] == len(found) > 0
        np.testing.assert_allclose(boxes[index, : len(found)], found.pred_boxes.tensor, atol=1e-2)
        np.testing.assert_allclose(scores[index, : len(found)], found.scores, atol=1e-4)
        np.testing.assert_array_equal(classes[index, : len(found)], found.pred_classes)
    extra = {"dyhead.json": ""}
    torch.export.load(path, extra_files=extra)
    assert json.loads(extra["dyhead.json"])["class_names"] == ["cat", "dog", "cow"]


@pytest.mark.slow
def test_a_backbone_that_pads_as_tensorflow_does(pictures, tmp_path):
    """Its frozen norms are computed by convolutions, as those of own_dataset.yaml are."""
    backbone = {
        "MODEL.BACKBONE.NAME": "build_timm_fpn_dyhead_backbone",
        "MODEL.TIMM.NAME": "tf_efficientnet_lite0",
        "MODEL.TIMM.NORM": "FrozenBN",
        "MODEL.TIMM.PRETRAINED": False,
        "MODEL.FPN.IN_FEATURES": "()",
    }
    ready = load_detector(save_run(tmp_path / "run", **backbone), device="cpu")
    check = export_torch(ready, tmp_path / "model.pt2", pictures=pictures)
    assert check.compared > 20


def test_another_ending_is_refused_at_once(ready, pictures, tmp_path):
    with pytest.raises(UserError, match="ending '.pth': choose .pt2"):
        export_torch(ready, tmp_path / "model.pth", pictures=pictures)


def test_an_old_pytorch_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(UserError, match="needs PyTorch 2.10 or later, and this is 2.9.1"):
        check_pytorch()
    for version in ("2.10.0", "2.14.1+cpu", "3.0.0a0"):
        monkeypatch.setattr(torch, "__version__", version)
        check_pytorch()
