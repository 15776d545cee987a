"""Ranges of config values: what a key may be, in words and as a test.

Every constructor returns a `Range`; they nest, as in `list_of(number(above=0), 4)`.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_NAMES_OF_COUNTS = {1: "one element", 2: "two elements", 3: "three elements", 4: "four elements"}


class Range(NamedTuple):
    """The values that a config key may have."""

    words: str  # completes the sentence "it has to be ..."
    accepts: Callable[[Any], bool]


def flag() -> Range:
    """Accept True and False."""
    return Range("True or False", lambda value: isinstance(value, bool))


def text() -> Range:
    """Accept any text, the empty one too."""
    return Range("text", lambda value: isinstance(value, str))


def name() -> Range:
    """Accept any text but the empty one; what it names is looked up where it is used."""
    return Range("a name", lambda value: isinstance(value, str) and bool(value.strip()))


def identifier() -> Range:
    """Accept a name as code has it, of letters, digits, "_" and "."; it is looked up where used."""
    pattern = re.compile(r"[A-Za-z_][\w.]*")
    return Range(
        "a name of letters, digits and _",
        lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None,
    )


def one_of(*choices: Any) -> Range:
    """Accept these values alone."""

    def accepts(value: Any) -> bool:
        # True equals 1, and is no whole number of a config
        return any(value == choice and type(value) is type(choice) for choice in choices)

    shown = [repr(choice) for choice in choices]
    if len(shown) == 1:
        return Range(shown[0], accepts)
    return Range(f"{', '.join(shown[:-1])} or {shown[-1]}", accepts)


def whole(least: int | None = None, most: int | None = None) -> Range:
    """Accept whole numbers from `least` to `most`; None sets no limit."""

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and (least is None or value >= least)
            and (most is None or value <= most)
        )

    return Range(f"a whole number{_between(least, most)}", accepts)


def number(
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> Range:
    """Accept finite numbers within limits, infinity too if `infinite`; None sets no limit.

    Args:
        least: the smallest one.
        most: the largest one.
        above: a limit that is not accepted itself.
        below: a limit that is not accepted itself.
        infinite: accept plus infinity.
    """

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (_is_finite(value) or (infinite and value == math.inf))
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    limits = _between(least, most)
    limits += "" if above is None else f" above {above}"
    limits += "" if below is None else f"{' and' if limits else ''} below {below}"
    return Range(f"a{'' if infinite else ' finite'} number{limits}", accepts)


def either(*ranges: Range) -> Range:
    """Accept what any of the ranges does."""
    words = " or ".join(one.words for one in ranges)
    return Range(words, lambda value: any(one.accepts(value) for one in ranges))


def list_of(
    element: Range,
    count: int | Sequence[int] | None = None,
    *,
    empty: bool = False,
    ascending: bool = False,
) -> Range:
    """Accept lists and tuples.

    Args:
        element: the range of every element.
        count: the number of elements, or several to choose from; None: any.
        empty: accept none at all.
        ascending: every element has to be larger than the one before.
    """
    counts = [count] if isinstance(count, int) else count

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and (len(value) > 0 or empty)
            and (not value or counts is None or len(value) in counts)
            and all(element.accepts(one) for one in value)
            and not (ascending and _descends(value))
        )

    order = " in ascending order" if ascending else ""
    words = f"a list of {_count_words(counts, empty)}{order}, each {element.words}"
    return Range(words, accepts)


def _count_words(counts: Sequence[int] | None, empty: bool) -> str:
    if counts is None:
        return "any number of elements" if empty else "one or more elements"
    words = " or ".join(_NAMES_OF_COUNTS.get(count, f"{count} elements") for count in counts)
    return f"no or {words}" if empty else words


def _between(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f" of at most {most}"
    return f" of {least} or more" if most is None else f" from {least} to {most}"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def _descends(values: Sequence[Any]) -> bool:
    return any(second <= first for first, second in zip(values, values[1:], strict=False))


SHARE = number(0, 1)
POSITIVE = number(above=0)
NOT_NEGATIVE = number(0)
COUNT = whole(1)
CHANNELS = whole(1, 2**16)
SHORT_SIDE = whole(0, 2**16)  # pixels; 0 leaves images as they are
