"""Matching by bands of quality against a loop over columns."""

import pytest
import torch

from dyhead.d2.modeling.matcher import Matcher


def naive_match(quality, thresholds, labels, low_quality):
    """Matches and labels of nested lists (M, N), column by column."""
    matches, result = [], []
    for column in zip(*quality, strict=True):
        best = max(column)
        matches.append(column.index(best))
        result.append(labels[sum(best >= threshold for threshold in thresholds)])
    for row in quality if low_quality else []:
        result = [
            1 if value == max(row) else label for value, label in zip(row, result, strict=True)
        ]
    return matches, result


@pytest.mark.parametrize("low_quality", [False, True])
@pytest.mark.parametrize(
    ("thresholds", "labels"),
    [([0.4, 0.5], [0, -1, 1]), ([0.5], [0, 1]), ([0.125, 0.3, 0.7], [-1, 0, -1, 1])],
)
def test_matches_equal_the_naive_double(thresholds, labels, low_quality):
    generator = torch.Generator().manual_seed(0)
    quality = torch.rand(5, 200, generator=generator, dtype=torch.float64) ** 2
    matcher = Matcher(thresholds, labels, allow_low_quality_matches=low_quality)
    matches, found = matcher(quality)
    expected = naive_match(quality.tolist(), thresholds, labels, low_quality)
    assert (matches.tolist(), found.tolist()) == expected
    assert matches.dtype == torch.int64 and found.dtype == torch.int8


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_quality_equal_to_a_threshold_belongs_to_the_band_above(dtype):
    quality = torch.tensor([[0.0, 0.4, 0.5, 1.0]], dtype=dtype)
    _, labels = Matcher([0.4, 0.5], [0, -1, 1])(quality)
    assert labels.tolist() == [0, -1, 1, 1]


def test_every_object_gets_its_best_anchors_ties_included():
    quality = torch.tensor([[0.1, 0.3, 0.3, 0.0], [0.9, 0.35, 0.1, 0.0]])
    matches, labels = Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True)(quality)
    assert labels.tolist() == [1, 1, 1, 0]
    assert matches.tolist()[:3] == [1, 1, 0]  # the second anchor stays with its better object


def test_an_object_that_overlaps_nothing_claims_all_that_it_does_not_overlap():
    # Detectron2's rule taken at its word; its data loader drops boxes without area.
    quality = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.0, 0.6]])
    _, labels = Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True)(quality)
    assert labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize("labels", [[0, -1, 1], [-1, 0, 1]])
def test_without_objects_every_anchor_is_in_the_lowest_band(labels):
    matcher = Matcher([0.4, 0.5], labels, allow_low_quality_matches=True)
    matches, found = matcher(torch.zeros(0, 6))
    assert matches.tolist() == [0] * 6 and matches.dtype == torch.int64
    assert found.tolist() == [labels[0]] * 6 and found.dtype == torch.int8


def test_without_anchors_there_is_nothing_to_match():
    matches, labels = Matcher([0.5], [0, 1], allow_low_quality_matches=True)(torch.zeros(3, 0))
    assert matches.shape == labels.shape == (0,)


@pytest.mark.parametrize(
    ("thresholds", "labels"),
    [
        ([0.4, 0.5], [0, 1]),
        ([0.5, 0.4], [0, -1, 1]),
        ([0.0, 0.5], [0, -1, 1]),
        ([0.4, 0.5], [0, -1, 2]),
    ],
)
def test_bands_that_make_no_sense_are_refused(thresholds, labels):
    with pytest.raises((AssertionError, ValueError)):
        Matcher(thresholds, labels)


def test_the_settings_of_a_config_are_left_alone():
    thresholds, labels = [0.4, 0.5], [0, -1, 1]
    matcher = Matcher(thresholds, labels)
    assert thresholds == [0.4, 0.5] and labels == [0, -1, 1]
    assert matcher.thresholds == [-float("inf"), 0.4, 0.5, float("inf")]
    assert list(matcher.labels) == labels
