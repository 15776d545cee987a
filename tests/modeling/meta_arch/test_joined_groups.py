"""Maps of groups of pictures become those of a batch, each picture's at the top left."""

import torch

from dyhead.modeling.meta_arch.assignment import BACKGROUND, assign_inside
from dyhead.modeling.meta_arch.dense_detector import flatten_maps
from dyhead.modeling.meta_arch.joined_groups import anchors_inside, join_maps

SIZES = [(4, 6), (5, 3)]  # of the groups' finest maps: neither holds the other
GROUPS = [[2, 0], [1]]
NUM_ANCHORS, NUM_CLASSES = 2, 3


def maps_of_groups():
    """Per group class logits and deltas on two levels."""
    torch.manual_seed(0)
    return [
        [
            [
                torch.rand(len(indices), NUM_ANCHORS * values, -(-h // step), -(-w // step))
                for step in (1, 2)
            ]
            for values in (NUM_CLASSES, 4)
        ]
        for indices, (h, w) in zip(GROUPS, SIZES, strict=True)
    ]


def test_every_picture_keeps_its_values_and_no_loss_is_around_them():
    of_groups = maps_of_groups()
    logits, deltas = join_maps(of_groups, GROUPS)
    assert [level.shape for level in logits] == [(3, 6, 5, 6), (3, 6, 3, 3)]
    assert [level.shape for level in deltas] == [(3, 8, 5, 6), (3, 8, 3, 3)]
    for group, indices in zip(of_groups, GROUPS, strict=True):
        for row, index in enumerate(indices):
            for joined, own, outside in ((logits, group[0], -1e4), (deltas, group[1], 0.0)):
                for whole, part in zip(joined, own, strict=True):
                    height, width = part.shape[2:]
                    assert torch.equal(whole[index, :, :height, :width], part[row])
                    assert (whole[index, :, height:] == outside).all()
                    assert (whole[index, :, :, width:] == outside).all()


def test_the_anchors_inside_are_those_whose_logits_are_the_pictures_own():
    of_groups = maps_of_groups()
    logits, _ = join_maps(of_groups, GROUPS)
    inside = anchors_inside(of_groups, GROUPS, NUM_ANCHORS)
    for level, flat in enumerate(flatten_maps(logits, NUM_CLASSES)):
        for image in range(3):
            expected = torch.nonzero(flat[image, :, 0] > -1e4).flatten()
            assert torch.equal(inside[image][level], expected)


def test_only_anchors_inside_are_assigned():
    anchors = [torch.arange(24.0).view(6, 4), torch.arange(24.0, 36.0).view(3, 4)]
    inside = [torch.tensor([1, 4]), torch.tensor([2])]
    seen = []

    def rule(levels, boxes):
        seen.extend(levels)
        return torch.tensor([7, 8, 9]) * len(boxes)

    assigned = assign_inside(rule, anchors, torch.rand(1, 4), inside)
    background = BACKGROUND
    assert assigned.tolist() == [
        *(background, 7, background, background, 8, background),
        *(background, background, 9),
    ]
    assert torch.equal(torch.cat(seen), torch.cat([anchors[0][[1, 4]], anchors[1][[2]]]))
