"""The steps of docs/own_backbone.md, done."""

import pytest
import torch
from documents import PROJECT, block_with

import dyhead.modeling  # noqa: F401  registers the detectors
from dyhead.config import load_config
from dyhead.d2.modeling import build_model
from dyhead.d2.structures import Boxes, Instances
from dyhead.modeling.backbone import build_fpn

DOCUMENT = PROJECT / "docs" / "own_backbone.md"


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    source = block_with(DOCUMENT, "python", "@BACKBONE_REGISTRY")
    exec(compile(source, "own_backbone.md", "exec"), {})
    yaml = block_with(DOCUMENT, "yaml", "build_my_fpn_dyhead_backbone")
    path = tmp_path_factory.mktemp("configs") / "my_backbone.yaml"
    path.write_text(yaml.replace('_BASE_: "', f'_BASE_: "{PROJECT}/configs/'), encoding="utf-8")
    opts = ["MODEL.DEVICE", "cpu", "MODEL.DYHEAD.NUM_CONVS", "1", "MODEL.ATSS.NUM_CLASSES", "3"]
    opts += ["MODEL.FPN.OUT_CHANNELS", "32", "MODEL.DYHEAD.CHANNELS", "32"]
    cfg, _ = load_config(str(path), [*opts, "MODEL.ATSS.CHANNELS", "32"])
    torch.manual_seed(0)
    return build_model(cfg)


@pytest.fixture
def batch():
    instances = Instances((96, 128))
    instances.gt_boxes = Boxes(torch.tensor([[10.0, 12.0, 70.0, 80.0]]))
    instances.gt_classes = torch.tensor([1])
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    return [{"image": image, "instances": instances}] * 2


def test_the_backbone_of_the_document_trains_and_detects(detector, batch):
    detector.train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
    losses = detector(batch)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters())
    weight = next(detector.backbone.fpn.bottom_up.parameters())
    before = weight.detach().clone()
    optimizer.step()
    assert not before.equal(weight)
    assert detector.eval()(batch)[0]["instances"].has("pred_boxes")


def test_it_has_the_levels_of_one_stage_detectors(detector):
    assert list(detector.backbone.output_shape()) == ["p3", "p4", "p5", "p6", "p7"]


def test_the_pyramid_takes_all_features_where_none_is_named(detector):
    cfg, _ = load_config("", ["MODEL.DYHEAD.NUM_CONVS", "0"])
    own = type(detector.backbone.fpn.bottom_up)()
    assert list(build_fpn(cfg, own, None).output_shape()) == ["p3", "p4", "p5"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["stage2", "res4"], "asks for res4, but the backbone gives stage2, stage3, stage4"),
        (["stage2", "stage4"], r"with strides \[8, 32\]: choose features whose strides"),
    ],
)
def test_a_pyramid_on_other_features_is_refused_in_one_sentence(detector, names, message):
    cfg, _ = load_config("")
    cfg.MODEL.FPN.IN_FEATURES = names
    with pytest.raises(ValueError, match=message):
        build_fpn(cfg, type(detector.backbone.fpn.bottom_up)(), None)
