"""The tests over seeds are those of the textbooks."""

import itertools
import math

import numpy as np
import pytest
from seed_statistics import PairedTest, Spread, sign_p_value, student_p_value


@pytest.mark.parametrize(
    ("t", "freedom"),
    [(12.7062, 1), (4.30265, 2), (3.18245, 3), (2.77645, 4), (2.26216, 9), (2.22814, 10)],
)
def test_critical_values_of_the_printed_tables_have_p_0_05(t: float, freedom: int) -> None:
    assert student_p_value(t, freedom) == pytest.approx(0.05, abs=1e-5)
    assert student_p_value(-t, freedom) == pytest.approx(0.05, abs=1e-5)
    assert student_p_value(0.0, freedom) == pytest.approx(1.0)


@pytest.mark.parametrize("freedom", [1, 2, 5, 8])
@pytest.mark.parametrize("t", [0.3, 1.7, 6.0])
def test_p_is_the_area_below_the_tails(t: float, freedom: int) -> None:
    constant = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi)
    x = np.linspace(-t, t, 20001)
    density = constant / math.gamma(freedom / 2) * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    inside = ((density[1:] + density[:-1]) / 2 * np.diff(x)).sum()
    assert student_p_value(t, freedom) == pytest.approx(1 - inside, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_the_sign_test_counts_all_outcomes_of_n_coins(n: int) -> None:
    heads = [sum(coins) for coins in itertools.product((0, 1), repeat=n)]
    for ahead in range(n + 1):
        as_far = sum(abs(count - n / 2) >= abs(ahead - n / 2) for count in heads)
        assert sign_p_value(ahead, n) == pytest.approx(as_far / 2**n)


def test_pairs_are_compared_one_by_one() -> None:
    """Differences 1, 2, 3: mean 2, standard deviation 1, t = 2 sqrt(3)."""
    test = PairedTest.of([(11.0, 10.0), (52.0, 50.0), (33.0, 30.0)])
    assert test.difference == Spread(2.0, 1.0, 3.0, 3)
    assert test.ahead == 3
    assert test.p_value == pytest.approx(student_p_value(2 * math.sqrt(3), 2))


def test_one_pair_and_equal_differences_have_no_p() -> None:
    assert PairedTest.of([(2.0, 1.0)]).p_value is None
    assert PairedTest.of([(2.0, 1.0), (3.0, 2.0)]).p_value is None


def test_a_tie_counts_half() -> None:
    assert PairedTest.of([(1.0, 1.0), (2.0, 1.0)]).ahead == 1.5
