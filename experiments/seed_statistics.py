"""Statistics over the seeds of a comparison: mean and spread, and paired tests."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The mean, the lowest and the highest of n values."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise one value or more."""
        return cls(statistics.mean(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class PairedTest:
    """The differences of n pairs, such as the AP of two detectors with the same seed.

    Attributes:
        difference: the spread of what the first has more than the second.
        ahead: in how many pairs the first is higher; a pair of equal values counts half.
        p_value: two-sided, of Student's paired t-test; None for fewer than two pairs, or without
            any variance.
    """

    difference: Spread
    ahead: float
    p_value: float | None

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]]) -> "PairedTest":
        """Compare the first values of the pairs with the second ones; one pair or more."""
        differences = [first - second for first, second in pairs]
        ahead = sum((d > 0) + 0.5 * (d == 0) for d in differences)
        return cls(Spread.of(differences), ahead, _paired_p_value(differences))


def _paired_p_value(differences: Sequence[float]) -> float | None:
    n = len(differences)
    if n < 2 or not (deviation := statistics.stdev(differences)):
        return None
    return student_p_value(statistics.mean(differences) / (deviation / math.sqrt(n)), n - 1)


def student_p_value(t: float, freedom: int) -> float:
    """Return the two-sided p-value of Student's t-distribution.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: exact for
    whole degrees of freedom.
    """
    angle = math.atan2(abs(t), math.sqrt(freedom))
    cosine = math.cos(angle)
    is_odd = freedom % 2
    term, total = (cosine, 0.0) if is_odd else (1.0, 0.0)
    for k in range(1 + is_odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    inside = math.sin(angle) * total
    if is_odd:
        inside = 2 / math.pi * (angle + inside)
    return max(0.0, 1 - inside)


def sign_p_value(ahead: int, n: int) -> float:
    """Return the two-sided p-value of the sign test: `ahead` of `n` pairs, each by a fair coin.

    Pairs of equal values are in neither number.
    """
    extreme = min(ahead, n - ahead)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(extreme + 1)) / 2**n)
