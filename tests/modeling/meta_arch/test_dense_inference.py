"""Choosing candidates without waiting for the device: the same as on a CPU, in fixed sizes."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dyhead.d2.modeling import build_model
from dyhead.modeling.meta_arch import dense_inference
from dyhead.modeling.meta_arch.dense_inference import (
    EMPTY,
    Candidates,
    _select_from_all,
    _select_from_passing,
    detect,
    select_candidates,
)

DETECTORS = {
    "ATSS": "ATSS",
    "FCOS": "FCOS",
    "RepPoints": "REPPOINTS",
    "DyHeadRetinaNet": "RETINANET",
}
WAITING = ("nonzero", "_local_scalar_dense", "masked_select", "is_nonzero", "unique", "equal")


class WaitCounter(TorchDispatchMode):
    """Counts what a GPU would have to be waited for: sizes and numbers that depend on values."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in masks)
        self.count += by_mask or name.startswith(WAITING) and name != "nonzero_static"
        return func(*args, **(kwargs or {}))


def waits(function, *args, **kwargs):
    with WaitCounter() as counter:
        function(*args, **kwargs)
    return counter.count


def test_the_counter_counts():
    x = torch.arange(3.0)
    assert waits(lambda: x[x > 1]) == waits(lambda: x.max().item()) == waits(x.nonzero) == 1
    assert waits(lambda: float(x.sum())) == 1 and waits(lambda: x.topk(2)) == 0


def as_set(scores, anchors, classes):
    found = zip(scores.tolist(), anchors.tolist(), classes.tolist(), strict=True)
    return sorted(x for x in found if x[0] != EMPTY)


def random_level(seed, num_anchors=60, num_classes=5):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(num_anchors, num_classes, generator=generator)
    return scores, torch.rand(num_anchors, generator=generator)


@pytest.mark.parametrize("by_quality", [False, True])
@pytest.mark.parametrize("with_quality", [False, True])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("limit", [0, 7, 299, 300, 1000])
def test_both_ways_choose_the_same_pairs(by_quality, with_quality, threshold, limit):
    scores, quality = random_level(1)
    arguments = scores, quality if with_quality else None, threshold, limit, by_quality
    fixed = _select_from_all(*arguments)
    assert len(fixed[0]) == min(limit, scores.numel())
    assert as_set(*fixed) == as_set(*_select_from_passing(*arguments))


@pytest.mark.parametrize("shape", [(0, 5), (1, 1)])
def test_levels_as_small_as_can_be(shape):
    scores, quality = torch.full(shape, 0.9), torch.ones(shape[0])
    for select in (_select_from_all, _select_from_passing):
        assert len(select(scores, quality, 0.5, 10, True)[0]) == shape[0]


def test_a_score_of_zero_is_a_candidate_and_nan_passes_no_threshold():
    scores = torch.tensor([[0.9, torch.nan], [0.3, 0.8]])
    quality = torch.tensor([0.0, 1.0])
    for select in (_select_from_all, _select_from_passing):
        found = as_set(*select(scores, quality, 0.5, 10, True))
        assert found == [(0.0, 0, 0), (pytest.approx(0.8), 1, 1)]


def test_a_score_of_just_the_threshold_does_not_pass():
    scores = torch.tensor([[0.5, 0.75], [0.25, 0.5]])
    for select in (_select_from_all, _select_from_passing):
        assert as_set(*select(scores, None, 0.5, 10, True)) == [(0.75, 0, 1)]


def test_of_equal_pairs_as_many_are_chosen_and_none_below():
    scores = torch.tensor([[0.5, 0.9, 0.9], [0.9, 0.7, 0.9]])
    for select in (_select_from_all, _select_from_passing):
        found = as_set(*select(scores, None, 0.1, 3, True))
        assert [score for score, _, _ in found] == pytest.approx([0.9] * 3)


def test_only_a_cpu_looks_for_what_passes_first():
    assert not dense_inference.wants_fixed_sizes(torch.zeros(1))
    assert dense_inference.wants_fixed_sizes(torch.zeros(1, device="meta"))
    on_device = random_level(1)[0].to("meta")
    scores, anchors, classes = select_candidates(on_device, None, 0.5, 11)
    assert scores.shape == anchors.shape == classes.shape == (11,)  # whatever the values are


def test_a_compiler_goes_through_on_a_cpu_too():
    scores, quality = random_level(2)
    compiled = torch.compile(select_candidates, backend="eager", fullgraph=True)
    found = compiled(scores, quality, 0.5, 20)
    assert len(found[0]) == 20
    assert as_set(*found) == as_set(*select_candidates(scores, quality, 0.5, 20))


def test_empty_candidates_are_left_out_and_waited_for_once():
    boxes = torch.tensor([[0.0, 0, 8, 8], [50, 50, 58, 58], [200, 0, 208, 8], [0, 0, 8, 8]])
    levels = [
        Candidates(boxes[:2], torch.tensor([0.5, EMPTY]), *torch.tensor([[0, 1], [7, 3]])),
        Candidates(boxes[2:], torch.tensor([0.7, 0.4]), *torch.tensor([[2, 0], [5, 1]])),
    ]
    settings = {"image_size": (100, 100), "iou_threshold": 0.5, "max_detections": 10}
    found = detect(levels, **settings)
    assert found.scores.tolist() == pytest.approx([0.7, 0.5])
    assert (found.pred_levels.tolist(), found.pred_anchors.tolist()) == ([1, 0], [5, 7])
    clipped = detect(levels, clip_before_nms=True, **settings)
    assert clipped.scores.tolist() == pytest.approx([0.5])  # the best one lies outside


def build(cfg, architecture):
    cfg.MODEL.META_ARCHITECTURE = architecture
    section = cfg.MODEL[DETECTORS[architecture]]
    section.NUM_CLASSES, section.NUM_CONVS = 3, 1
    if architecture != "DyHeadRetinaNet":
        section.CHANNELS = 32
    if architecture == "RepPoints":
        section.POINT_CHANNELS = 16
    if architecture == "DyHeadRetinaNet":
        section.TOPK_CANDIDATES_TEST = 40
        cfg.MODEL.PIXEL_STD = [60.0, 60.0, 60.0]
        cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    else:
        section.PRE_NMS_TOP_N = 40
    torch.manual_seed(3)
    model = build_model(cfg).eval()
    for parameter in model.head.parameters():
        nn.init.normal_(parameter, std=0.1)  # lively, but no score of 1, since such would be equal
    return model


@pytest.mark.parametrize("architecture", DETECTORS)
def test_no_level_waits_and_the_detections_are_the_same(cfg, make_input, monkeypatch, architecture):
    model = build(cfg, architecture)
    batch = [make_input(1, (128, 128)), make_input(2, (128, 128))]
    counts, decode = [], type(model).decode_level

    def counted(self, *level):
        with WaitCounter() as counter:
            decoded = decode(self, *level)
        counts.append(counter.count)
        return decoded

    monkeypatch.setattr(type(model), "decode_level", counted)
    with torch.no_grad():
        expected = model(batch)
        assert len(counts) == 2 * 5 and min(counts) > 0  # images and levels
        counts.clear()
        monkeypatch.setattr(dense_inference, "wants_fixed_sizes", lambda scores: True)
        found = model(batch)
    assert counts == [0] * 10
    for x, y in zip(found, expected, strict=True):
        ours, theirs = x["instances"], y["instances"]
        assert len(ours) == len(theirs) > 3
        assert torch.equal(ours.scores, theirs.scores)
        assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
        assert torch.equal(ours.pred_classes, theirs.pred_classes)


def test_an_image_is_waited_for_as_often_whatever_the_number_of_levels(
    make_detector, make_input, monkeypatch
):
    monkeypatch.setattr(dense_inference, "wants_fixed_sizes", lambda scores: True)
    counts = []
    for strides in ((8, 16, 32), (8, 16, 32, 64, 128)):
        detector = make_detector(strides=strides, test_topk_candidates=20).eval()
        with torch.no_grad():
            counts.append(waits(detector, [make_input(1, (128, 128))]))
    assert counts[0] == counts[1]
