"""The official code's checkpoints are recognised and mean the same in our modules."""

from pathlib import Path

import pytest
import torch
from small_models import assert_same_weights, make
from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.importers import official


@pytest.mark.parametrize(
    "config", ["dyhead_r50_atss_fpn_1x.yaml", "dyhead_swint_atss_fpn_2x_ms.yaml"]
)
def test_official_checkpoint_comes_back(tmp_path: Path, config: str) -> None:
    cfg, model = make(config)
    names = official.to_official(model.state_dict())
    assert any(name.startswith("backbone.dyhead_tower.0.DyConv.2.bn") for name in names)
    assert not any(name.startswith("backbone.fpn.") for name in names)
    path = tmp_path / "official.pth"
    torch.save({"model": names, "optimizer": {"state": {}}, "iteration": 89999}, path)
    _, other = make(config)
    nn.init.zeros_(other.head.cls_logits.weight)
    SafeCheckpointer(other, cfg=cfg).load(str(path), checkpointables=[])
    assert_same_weights(other, model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.DYHEAD.COARSER_OFFSETS", "crop"),
        ("MODEL.FPN.RELU_BEFORE_P7", "False"),
        ("MODEL.DYHEAD.SIZE_DIVISIBILITY", "32"),
        ("INPUT.FORMAT", "RGB"),
        ("MODEL.ANCHOR_GENERATOR.OFFSET", "0.0"),
    ],
)
def test_a_config_that_disagrees_is_told_what_to_change(
    tmp_path: Path, key: str, value: str
) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", key, value)
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(model.state_dict())}, path)
    with pytest.raises(ValueError, match=rf"official DyHead need.* set {key} .*dyhead convert"):
        SafeCheckpointer(model, cfg=cfg).load(str(path))
    SafeCheckpointer(model).load(str(path))  # without a config there is nothing to check


def test_another_number_of_blocks_is_noticed(tmp_path: Path) -> None:
    _, model = make("dyhead_r50_atss_fpn_1x.yaml")
    cfg, larger = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.DYHEAD.NUM_CONVS", "2")
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(model.state_dict())}, path)
    with pytest.raises(ValueError, match=r"set MODEL.DYHEAD.NUM_CONVS 1 or"):
        SafeCheckpointer(larger, cfg=cfg).load(str(path))


def test_another_number_of_classes_is_reported_and_loads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, model = make("dyhead_r50_atss_fpn_1x.yaml")
    cfg, other = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.ATSS.NUM_CLASSES", "7")
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(model.state_dict())}, path)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    assert "other shape: 2 (head.cls_logits.bias, head.cls_logits.weight)" in caplog.text
    assert torch.equal(other.head.bbox_pred.weight, model.head.bbox_pred.weight)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        ("dyhead_r50_retina_fpn_1x.yaml", []),
        ("dyhead_r50_rcnn_fpn_1x.yaml", ["MODEL.ROI_BOX_HEAD.FC_DIM", "8"]),
    ],
)
def test_official_detectors_of_detectron2_come_back(
    tmp_path: Path, config: str, head: list[str]
) -> None:
    cfg, model = make(config, *head)
    _, other = make(config, *head)
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(model.state_dict())}, path)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    assert_same_weights(other, model)
