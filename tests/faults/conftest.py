"""Fixtures of small runs, and of what a test has shown of its fault.

Every test here carries `@pytest.mark.fault("its name")`; several may share a name. It takes the
fixture `fault`, and asserts within `fault.clear()`, `fault.survived()` and `fault.nothing_lost()`.
`make faults` makes a table of them.
"""

from collections.abc import Iterator

import pytest
from shown_faults import ShownFault
from toy_runs import make_config, rectangles, without_pictures

__all__ = ["make_config", "rectangles", "without_pictures"]


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Iterator[ShownFault]:
    """Take what the test shows of its fault; it has to show all."""
    marker = request.node.get_closest_marker("fault")
    shown = ShownFault(marker.args[0])
    request.node.user_properties.append(("fault", shown.record))
    yield shown
    assert not shown.missing, f"not shown: {', '.join(shown.missing)}"
