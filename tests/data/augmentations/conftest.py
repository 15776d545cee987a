"""Seeds of the augmentations' random numbers."""

from collections.abc import Iterator

import pytest

from dyhead.data.seeding import kept_generators, seed_cpu_generators


@pytest.fixture(autouse=True)
def own_generators() -> Iterator[None]:
    with kept_generators():
        seed_cpu_generators(0)
        yield
