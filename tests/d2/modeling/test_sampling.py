import pytest
import torch

from dyhead.d2.modeling.sampling import subsample_labels

BACKGROUND = 5


@pytest.fixture
def labels():
    """10 ignored, 20 positive of two classes, 70 negative, shuffled."""
    torch.manual_seed(0)
    values = [-1] * 10 + [0] * 12 + [3] * 8 + [BACKGROUND] * 70
    return torch.tensor(values)[torch.randperm(100)]


@pytest.mark.parametrize(
    ("num_samples", "fraction", "num_positives", "num_negatives"),
    [
        (16, 0.5, 8, 8),
        (64, 0.5, 20, 44),  # negatives make up for missing positives
        (200, 0.25, 20, 70),  # nothing makes up for missing negatives
        (10, 0.25, 2, 8),  # shares are rounded down
        (10, 0.0, 0, 10),
        (0, 0.5, 0, 0),
    ],
)
def test_numbers(labels, num_samples, fraction, num_positives, num_negatives):
    positives, negatives = subsample_labels(labels, num_samples, fraction, BACKGROUND)
    assert (len(positives), len(negatives)) == (num_positives, num_negatives)
    assert ((labels[positives] >= 0) & (labels[positives] != BACKGROUND)).all()
    assert (labels[negatives] == BACKGROUND).all()
    chosen = torch.cat([positives, negatives])
    assert len(chosen.unique()) == len(chosen)


@pytest.mark.parametrize("only", [-1, 0, BACKGROUND])
def test_one_kind_of_labels(only):
    positives, negatives = subsample_labels(torch.full((6,), only), 4, 0.5, BACKGROUND)
    expected = {-1: (0, 0), 0: (2, 0), BACKGROUND: (0, 4)}
    assert (len(positives), len(negatives)) == expected[only]


def test_no_labels():
    positives, negatives = subsample_labels(torch.zeros(0, dtype=torch.int8), 4, 0.5, 0)
    assert positives.shape == negatives.shape == (0,)


def test_every_candidate_is_chosen_as_often():
    torch.manual_seed(1)
    labels = torch.tensor([1] * 4 + [0] * 8)
    counts = torch.zeros(12)
    for _ in range(2000):
        for chosen in subsample_labels(labels, 4, 0.5, 0):
            counts[chosen] += 1
    expected = torch.tensor([1000.0] * 4 + [500.0] * 8)
    assert ((counts - expected).abs() < 150).all()


def test_equal_seeds_choose_the_same(labels):
    choices = []
    for _ in range(2):
        torch.manual_seed(2)
        choices.append(torch.cat(subsample_labels(labels, 32, 0.25, BACKGROUND)))
    assert torch.equal(*choices)
