"""Genuine Detectron2 beside the backbones, where it can be imported."""

import pytest


@pytest.fixture
def genuine(monkeypatch):
    """Genuine Detectron2's ResNets; stand-ins for the operators of its compiled part."""
    resnet = pytest.importorskip("detectron2.modeling.backbone.resnet")
    for name in ("DeformConv", "ModulatedDeformConv"):
        # a convolution of the same parameters
        monkeypatch.setattr(
            resnet, name, lambda *args, deformable_groups, **kwargs: resnet.Conv2d(*args, **kwargs)
        )
    return resnet
