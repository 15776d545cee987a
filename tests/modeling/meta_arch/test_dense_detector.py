"""Inference against a plain Python double, and what every dense detector refuses or returns."""

import plain_double
import pytest
import torch
from same_detections import assert_same_detections

from dyhead.modeling.meta_arch.dense_detector import flatten_maps
from dyhead.modeling.meta_arch.dense_inference import select_candidates, suppress_duplicates


def naive_level(anchors, logits, deltas, quality, threshold, topk):
    """(score, class, box) of one level: maps of one image, nested lists (A * K, H, W)."""
    height, width = len(quality[0]), len(quality[0][0])
    per_location, num_classes = len(quality), len(logits) // len(quality)
    found = []
    for y in range(height):
        for x in range(width):
            for a in range(per_location):
                anchor = anchors[(y * width + x) * per_location + a]
                box = plain_double.decode(
                    [deltas[4 * a + d][y][x] for d in range(4)], anchor, (10, 10, 5, 5)
                )
                for k in range(num_classes):
                    score = plain_double.sigmoid(logits[a * num_classes + k][y][x])
                    if score > threshold:
                        found.append((score * plain_double.sigmoid(quality[a][y][x]), k, box))
    return sorted(found, reverse=True)[:topk]


def naive_detections(detector, batch, threshold, topk, nms, limit):
    images = detector.preprocess_image(batch)
    features = list(detector.backbone(images.tensor).values())
    anchors = [boxes.tensor.tolist() for boxes in detector.anchor_generator(features)]
    maps = detector.head(features)
    results = []
    for i, x in enumerate(batch):
        levels = zip(anchors, *([m[i].tolist() for m in kind] for kind in maps), strict=True)
        found = [d for level in levels for d in naive_level(*level, threshold, topk)]
        kept = plain_double.suppress(found, nms)[:limit]
        size = x["image"].shape[1:]
        results.append(
            plain_double.resize(kept, size, (x.get("height", size[0]), x.get("width", size[1])))
        )
    return results


@pytest.mark.parametrize(
    ("ratios", "topk", "limit"), [((1.0,), 1000, 100), ((0.5, 1.0), 1000, 100), ((1.0,), 20, 7)]
)
def test_detections_equal_the_naive_double(make_detector, make_input, ratios, topk, limit):
    settings = {"test_score_thresh": 0.4, "test_nms_thresh": 0.5}
    detector = make_detector(
        aspect_ratios=ratios,
        test_topk_candidates=topk,
        max_detections_per_image=limit,
        **settings,
    ).eval()
    # Images without padding, where anchors would have equal scores.
    batch = [make_input(1, (64, 96)), make_input(2, (64, 96)) | {"height": 160, "width": 192}]
    with torch.no_grad():
        outputs = detector(batch)
        expected = naive_detections(detector, batch, 0.4, topk, 0.5, limit)
    assert_same_detections(outputs, expected)
    assert outputs[1]["instances"].image_size == (160, 192)


def test_nothing_above_the_threshold_gives_empty_instances(make_detector, make_input):
    detector = make_detector(test_score_thresh=1.0).eval()
    with torch.no_grad():
        (output,) = detector([make_input(1)])
    assert len(output["instances"]) == 0
    assert output["instances"].pred_boxes.tensor.shape == (0, 4)


def test_each_image_is_detected_alone_as_in_a_batch(make_detector, make_input):
    detector = make_detector().eval()
    batch = [make_input(seed, (64, 96)) for seed in range(3)]
    with torch.no_grad():
        together = detector(batch)
        alone = [detector([x])[0] for x in batch]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a["instances"].scores, b["instances"].scores)
        torch.testing.assert_close(
            a["instances"].pred_boxes.tensor, b["instances"].pred_boxes.tensor
        )


def test_images_are_normalised_and_padded_with_zeros(make_detector, make_input):
    detector = make_detector()
    x = make_input(1, (50, 40))
    images = detector.preprocess_image([x])
    assert images.tensor.shape == (1, 3, 64, 64)
    assert images.image_sizes == [(50, 40)]
    expected = (x["image"][1] - 110.0) / 61.0
    torch.testing.assert_close(images.tensor[0, 1, :50, :40], expected)
    assert not images.tensor[0, :, 50:].any() and not images.tensor[0, :, :, 40:].any()


def test_what_users_read_from_a_model(make_detector):
    detector = make_detector(input_format="RGB")
    assert detector.device == torch.device("cpu")
    assert detector.input_format == "RGB"
    assert not any("pixel" in key for key in detector.state_dict())


def test_training_without_ground_truth_is_refused(make_detector, make_input):
    x = make_input(1)
    del x["instances"]
    # Genuine Detectron2 asserts that there is some, without a name.
    message = "cats/1.jpg.*'instances'|annotations are missing"
    with pytest.raises((ValueError, AssertionError), match=message):
        make_detector()([x | {"file_name": "cats/1.jpg"}])


def test_flattened_maps_are_in_the_order_of_the_anchors():
    n, a, k, h, w = 2, 3, 4, 5, 6
    prediction = torch.arange(n * a * k * h * w).reshape(n, a * k, h, w)
    (flat,) = flatten_maps([prediction], k)
    assert flat.shape == (n, h * w * a, k)
    row = (2 * w + 3) * a + 1  # row 2, column 3, second anchor
    assert torch.equal(flat[1, row], prediction[1, k : 2 * k, 2, 3])


def test_the_threshold_is_on_the_class_score_and_the_rank_on_the_product():
    class_scores = torch.tensor([[0.9, 0.2], [0.05, 0.06], [0.8, 0.0]])
    quality = torch.tensor([0.1, 0.9, 0.5])
    scores, anchors, classes = select_candidates(class_scores, quality, 0.05, 2)
    found = sorted(zip(scores.tolist(), anchors.tolist(), classes.tolist(), strict=True))
    assert [(a, c) for _, a, c in found] == [(0, 0), (2, 0)]
    assert [s for s, _, _ in found] == pytest.approx([0.09, 0.4])


def test_suppression_is_per_class_and_keeps_boxes_unclipped():
    boxes = torch.tensor([[-5.0, 0, 10, 10], [-5, 0, 10, 9], [-5, 0, 10, 9]])
    kept = suppress_duplicates(
        boxes,
        torch.tensor([0.5, 0.9, 0.4]),
        torch.tensor([0, 0, 1]),
        image_size=(8, 8),
        iou_threshold=0.6,
        max_detections=5,
    )
    assert torch.equal(kept.pred_boxes.tensor, boxes[[1, 2]])
    assert kept.pred_classes.tolist() == [0, 1]


@pytest.mark.parametrize(("limit", "count"), [(2, 2), (0, 0), (-1, 3)])
def test_a_negative_limit_keeps_all_detections(limit, count):
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4]])
    kept = suppress_duplicates(
        boxes,
        torch.tensor([0.5, 0.9, 0.4]),
        torch.zeros(3, dtype=torch.int64),
        image_size=(8, 32),
        iou_threshold=0.6,
        max_detections=limit,
    )
    assert torch.equal(kept.pred_boxes.tensor, boxes[[1, 0, 2]][:count])


def test_mixed_precision_detects(make_detector, make_input):
    detector = make_detector().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (output,) = detector([make_input(1)])
    with torch.no_grad():
        (exact,) = detector([make_input(1)])
    best, expected = (each["instances"].scores[:10] for each in (output, exact))
    assert len(best) == 10 and best.dtype == torch.float32
    torch.testing.assert_close(best, expected, rtol=0.03, atol=0)
