"""Saving, resuming and loading on either host; what only the embedded host promises below."""

import os
import pickle
import signal
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from embedded_host.checkpoint import DetectionCheckpointer as EmbeddedCheckpointer
from iopath.common.file_io import PathHandler, PathManager
from torch import nn

from dyhead.d2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer


def backbone_model() -> nn.Module:
    """`backbone.stem.conv1.weight` and `backbone.stem.conv1.norm.weight`, `.bias`."""
    conv = nn.Conv2d(1, 2, 1, bias=False)
    conv.norm = nn.GroupNorm(1, 2)
    stem = nn.ModuleDict({"conv1": conv})
    return nn.ModuleDict({"backbone": nn.ModuleDict({"stem": stem})})


def write_pickle(path, data) -> str:
    with open(path, "wb") as file:
        pickle.dump(data, file, protocol=2)
    return str(path)


def test_save_and_resume_restore_everything(tmp_path):
    model, optimized = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(optimized.parameters(), 0.1)
    checkpointer = DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer)
    assert not checkpointer.has_checkpoint()
    checkpointer.save("model_0000009", iteration=9)
    assert checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000009.pth")

    restored = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(optimized.parameters(), 99)
    fresh = DetectionCheckpointer(restored, str(tmp_path), optimizer=optimizer)
    extra = fresh.resume_or_load("not_used.pth", resume=True)
    assert extra["iteration"] == 9
    assert torch.equal(restored.weight, model.weight)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_load_without_resume_takes_the_weights_only(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer).save("model")
    restored = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(restored.parameters(), 99)
    checkpointer = DetectionCheckpointer(restored, str(tmp_path), optimizer=optimizer)
    checkpointer.resume_or_load(str(tmp_path / "model.pth"), resume=False)
    assert torch.equal(restored.weight, model.weight)
    assert optimizer.param_groups[0]["lr"] == 99


def test_an_empty_path_loads_nothing():
    assert DetectionCheckpointer(nn.Linear(1, 1)).load("") == {}


def test_periodic_checkpoints_and_how_many_stay(tmp_path):
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path))
    periodic = PeriodicCheckpointer(checkpointer, 2, max_iter=9, max_to_keep=2)
    for iteration in range(9):
        periodic.step(iteration)
    expected = {"model_0000005.pth", "model_0000007.pth", "model_final.pth", "last_checkpoint"}
    assert set(os.listdir(tmp_path)) == expected
    assert checkpointer.get_checkpoint_file().endswith("model_final.pth")


def test_weights_match_by_suffix_only_where_asked(tmp_path):
    model = backbone_model()
    weight = torch.full_like(model["backbone"]["stem"]["conv1"].weight, 7.0)
    path = str(tmp_path / "weights.pth")
    torch.save({"model": OrderedDict({"stem.conv1.weight": weight})}, path)
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(path)
    assert not torch.equal(model["backbone"]["stem"]["conv1"].weight, weight)
    checkpointer.load(f"{path}?matching_heuristics=True")
    assert torch.equal(model["backbone"]["stem"]["conv1"].weight, weight)
    with pytest.raises(ValueError, match="nonsense"):
        DetectionCheckpointer(model).load(f"{path}?nonsense=1")


def test_a_bare_state_dict_loads(tmp_path):
    model, restored = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    DetectionCheckpointer(restored).load(str(tmp_path / "bare.pth"))
    assert torch.equal(restored.weight, model.weight)


C2_BLOBS = {
    "conv1_w": np.full((2, 1, 1, 1), 3, np.float32),
    "res_conv1_bn_s": np.full(2, 4, np.float32),
    "res_conv1_bn_b": np.full(2, 5, np.float32),
    "conv1_w_momentum": np.zeros((2, 1, 1, 1), np.float32),
    "fc1000_w": np.zeros((5, 2), np.float32),
}


@pytest.mark.parametrize(
    "data",
    [
        C2_BLOBS,
        {"cfg": "text", "blobs": C2_BLOBS},
        {"model": C2_BLOBS, "__author__": "Caffe2", "matching_heuristics": True},
        {
            "model": {
                "stem.conv1.weight": C2_BLOBS["conv1_w"],
                "stem.conv1.norm.weight": C2_BLOBS["res_conv1_bn_s"],
                "stem.conv1.norm.bias": C2_BLOBS["res_conv1_bn_b"],
            },
            "__author__": "torchvision",
            "matching_heuristics": True,
        },
    ],
    ids=["caffe2 imagenet", "caffe2 detector", "model zoo in caffe2 names", "model zoo"],
)
def test_pickles_of_the_model_zoos_load(tmp_path, data):
    model = backbone_model()
    DetectionCheckpointer(model).load(write_pickle(tmp_path / "R-50.pkl", data))
    conv = model["backbone"]["stem"]["conv1"]
    assert conv.weight.eq(3).all() and conv.norm.weight.eq(4).all() and conv.norm.bias.eq(5).all()


def test_a_zoo_pickle_without_heuristics_loads_by_exact_name(tmp_path):
    model = nn.Linear(1, 1)
    weights = {"weight": np.full((1, 1), 2, np.float32), "bias": np.full(1, 3, np.float32)}
    path = write_pickle(tmp_path / "final.pkl", {"model": weights, "__author__": "Detectron2"})
    DetectionCheckpointer(model).load(path)
    assert model.weight.item() == 2 and model.bias.item() == 3


def test_pycls_files_load(tmp_path):
    model = nn.ModuleDict({"backbone": nn.Linear(1, 1)})
    state = {"weight": torch.tensor([[2.0]]), "bias": torch.tensor([3.0])}
    state["x.num_batches_tracked"] = torch.tensor(1)
    torch.save({"model_state": state}, tmp_path / "regnet.pyth")
    DetectionCheckpointer(model).load(str(tmp_path / "regnet.pyth"))
    assert model["backbone"].weight.item() == 2


def test_other_path_managers_are_used(tmp_path):
    class Handler(PathHandler):
        def _get_supported_prefixes(self):
            return ["elsewhere://"]

        def _get_local_path(self, path, **kwargs):
            return str(tmp_path / path.removeprefix("elsewhere://"))

    model, restored = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    checkpointer = DetectionCheckpointer(restored)
    checkpointer.path_manager = PathManager()
    checkpointer.path_manager.register_handler(Handler())
    checkpointer.load("elsewhere://model.pth?matching_heuristics=True")
    assert torch.equal(restored.weight, model.weight)


def test_image_statistics_and_anchors_are_not_reported(tmp_path, caplog):
    model = nn.Linear(1, 1)
    model.register_buffer("pixel_mean", torch.zeros(3))
    weights = {"weight": torch.ones(1, 1), "bias": torch.ones(1)}
    weights["anchor_generator.cell_anchors.0"] = torch.zeros(1, 4)
    torch.save({"model": weights}, tmp_path / "old.pth")
    DetectionCheckpointer(model).load(str(tmp_path / "old.pth"))
    assert "pixel_mean" not in caplog.text and "cell_anchors" not in caplog.text


class TestEmbedded:
    KILLED_WHILE_SAVING = """
import os, signal, sys
from torch import nn
from dyhead.d2.checkpoint import DetectionCheckpointer
from dyhead.safe_io import save
checkpointer = DetectionCheckpointer(nn.Linear(300, 300), sys.argv[1])
checkpointer.save("model_0000001", iteration=1)
moment, replaced = int(sys.argv[2]), []
def replace(*arguments, replace=os.replace):
    if len(replaced) == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    replaced.append(arguments)
    replace(*arguments)
save.os.replace = replace
checkpointer.save("model_0000002", iteration=2)
"""

    @pytest.mark.parametrize("moment", [0, 1])
    def test_a_kill_while_saving_leaves_a_loadable_latest(self, tmp_path, moment):
        killed = subprocess.run(
            [sys.executable, "-c", self.KILLED_WHILE_SAVING, str(tmp_path), str(moment)],
            env={**os.environ, "DYHEAD_HOST": "embedded"},
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        checkpointer = EmbeddedCheckpointer(nn.Linear(300, 300), str(tmp_path))
        assert checkpointer.resume_or_load("", resume=True)["iteration"] == 1

    def test_hostile_files_do_not_run(self, tmp_path):
        class Hostile:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "made"),)

        path = write_pickle(tmp_path / "hostile.pkl", {"model": Hostile()})
        torch.save({"model": Hostile()}, tmp_path / "hostile.pth")
        for file in (path, str(tmp_path / "hostile.pth")):
            with pytest.raises(ValueError, match="holds more than"):
                EmbeddedCheckpointer(nn.Linear(1, 1)).load(file)
        assert not os.path.exists(tmp_path / "made")

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere.pth"):
            EmbeddedCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "nowhere.pth"))

    def test_nothing_is_saved_where_told_so(self, tmp_path):
        EmbeddedCheckpointer(nn.Linear(1, 1), str(tmp_path), save_to_disk=False).save("model")
        assert os.listdir(tmp_path) == []
