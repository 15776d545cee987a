"""Boxes, scores and losses of dense detectors in plain Python numbers, one at a time.

Boxes are tuples x1, y1, x2, y2.
"""

import math


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def center(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (area(a) + area(b) - width * height)


def side_distances(point, box):
    """From a point to the left, top, right and bottom of a box."""
    return point[0] - box[0], point[1] - box[1], box[2] - point[0], box[3] - point[1]


def centerness(point, box):
    left, top, right, bottom = side_distances(point, box)
    horizontal = min(left, right) / max(left, right)
    return math.sqrt(horizontal * min(top, bottom) / max(top, bottom))


def encode(source, target, weights):
    (x, y), (target_x, target_y) = center(source), center(target)
    width, height = source[2] - source[0], source[3] - source[1]
    deltas = (
        (target_x - x) / width,
        (target_y - y) / height,
        math.log((target[2] - target[0]) / width),
        math.log((target[3] - target[1]) / height),
    )
    return [w * d for w, d in zip(weights, deltas, strict=True)]


def decode(deltas, source, weights):
    width, height = source[2] - source[0], source[3] - source[1]
    dx, dy, dw, dh = (d / w for d, w in zip(deltas, weights, strict=True))
    x, y = center(source)
    x, y = x + dx * width, y + dy * height
    limit = math.log(1000 / 16)
    width, height = width * math.exp(min(dw, limit)), height * math.exp(min(dh, limit))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def focal_loss(logit, positive, alpha=0.25, gamma=2.0):
    p = sigmoid(logit)
    if positive:
        return -alpha * (1 - p) ** gamma * math.log(p)
    return -(1 - alpha) * p**gamma * math.log(1 - p)


def smooth_l1_loss(a, b, beta):
    differences = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return sum(d - beta / 2 if d >= beta else d * d / 2 / beta for d in differences)


def hull(a, b):
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def giou_loss(a, b):
    overlap = iou(a, b)
    union = (area(a) + area(b)) / (1 + overlap)
    return 1 - overlap + (area(hull(a, b)) - union) / area(hull(a, b))


def diou_loss(a, b):
    around = hull(a, b)
    diagonal = (around[2] - around[0]) ** 2 + (around[3] - around[1]) ** 2
    return 1 - iou(a, b) + math.dist(center(a), center(b)) ** 2 / diagonal


def ciou_loss(a, b):
    sides = [(max(box[2] - box[0], 1e-3), max(box[3] - box[1], 1e-3)) for box in (a, b)]
    angles = [math.atan(width / height) for width, height in sides]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return diou_loss(a, b) + v * v / (1 - iou(a, b) + v)


def iou_loss(a, b):
    return -math.log(max(iou(a, b), 1e-6))


# By the name that BBOX_REG_LOSS_TYPE gives them.
BOX_LOSSES = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss, "iou": iou_loss}


def suppress(found, threshold):
    """Of (score, class, box), best first, those that no better one of their class overlaps."""
    kept = []
    for score, k, box in sorted(found, reverse=True):
        if all(k != other or iou(box, b) <= threshold for _, other, b in kept):
            kept.append((score, k, box))
    return kept


def resize(found, size, new_size):
    """(score, class, box) in another size of the image, clipped to it; empty boxes are dropped."""
    (height, width), (new_height, new_width) = size, new_size
    resized = []
    for score, k, (x1, y1, x2, y2) in found:
        xs = [min(max(x * new_width / width, 0), new_width) for x in (x1, x2)]
        ys = [min(max(y * new_height / height, 0), new_height) for y in (y1, y2)]
        if xs[1] > xs[0] and ys[1] > ys[0]:
            resized.append((score, k, (xs[0], ys[0], xs[1], ys[1])))
    return resized
