"""A file is recognised by its names, and files of other things are refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import assert_same_weights, make
from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.importers import official


def test_detectron2s_pyramid_goes_below_dyhead(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    zoo = {
        name.replace("backbone.fpn.", "backbone."): value.numpy()
        for name, value in model.state_dict().items()
        if name.startswith("backbone.fpn.")
    }
    zoo["head.cls_score.weight"] = np.zeros((1, 1), np.float32)
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": zoo, "__author__": "Detectron2 Model Zoo"}))
    _, other = make("dyhead_r50_atss_fpn_1x.yaml")
    nn.init.zeros_(other.backbone.fpn.fpn_lateral3.weight)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    assert torch.equal(
        other.backbone.fpn.fpn_lateral3.weight, model.backbone.fpn.fpn_lateral3.weight
    )


def test_counters_of_batch_norm_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.FPN.NORM", "BN")
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(7)
    SafeCheckpointer(model, str(tmp_path)).save("own")
    _, other = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.FPN.NORM", "BN")
    SafeCheckpointer(other, cfg=cfg).load(str(tmp_path / "own.pth"))
    assert_same_weights(other, model)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_training_states_of_other_codes_stay_out(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    path = tmp_path / "official.pth"
    state = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []}
    names = official.to_official(model.state_dict())
    torch.save({"model": names, "optimizer": state, "iteration": 89999}, path)
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    rest = SafeCheckpointer(model, cfg=cfg, optimizer=optimizer).load(str(path))
    assert not optimizer.state and "iteration" not in rest


def test_own_weights_as_safetensors(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.DYHEAD.COARSER_OFFSETS", "resize")
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    _, other = make("dyhead_r50_atss_fpn_1x.yaml")
    nn.init.zeros_(other.head.cls_logits.weight)
    SafeCheckpointer(other, cfg=cfg).load(str(tmp_path / "own.safetensors"))
    assert_same_weights(other, model)


def test_the_kind_of_file_is_told_by_its_content(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    save_file(model.state_dict(), tmp_path / "misnamed.pth")
    torch.save(model.state_dict(), tmp_path / "misnamed.pkl")
    torch.save(model.state_dict(), tmp_path / "old.pkl", _use_new_zipfile_serialization=False)
    for name in ("misnamed.pth", "misnamed.pkl", "old.pkl"):
        other = nn.Linear(2, 2)
        SafeCheckpointer(other).load(str(tmp_path / name))
        assert torch.equal(other.weight, model.weight)


def test_weights_of_another_detector_are_refused(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    _, swin = make("dyhead_swint_atss_fpn_2x_ms.yaml")
    path = tmp_path / "swin.pth"
    bottom_up = swin.backbone.fpn.bottom_up.state_dict()
    torch.save({"model": bottom_up}, path)
    with pytest.raises(ValueError, match=r"Hardly a weight .*MODEL.BACKBONE.NAME"):
        SafeCheckpointer(model, cfg=cfg).load(str(path))


def test_the_same_names_with_other_shapes_are_no_match(tmp_path: Path) -> None:
    cfg, model = make("dyhead_swint_atss_fpn_2x_ms.yaml")
    changes = ("MODEL.SWINT.EMBED_DIM", "24", "MODEL.DYHEAD.CHANNELS", "16")
    _, other = make("dyhead_swint_atss_fpn_2x_ms.yaml", *changes)
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(other.state_dict())}, path)
    with pytest.raises(ValueError, match="Hardly a weight"):
        SafeCheckpointer(model, cfg=cfg).load(str(path))
