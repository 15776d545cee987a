"""A config file that is none is refused in a sentence that names it."""

from pathlib import Path

import pytest
from shown_faults import ShownFault

from dyhead.config import load_config
from dyhead.errors import UserError

CONTENTS = {
    "text that is not UTF-8": (b"OUTPUT_DIR: caf\xe9", "UTF-8"),
    "a key given twice": (b"SEED: 1\nSEED: 2\n", "SEED"),
    "a section given twice": (b"SOLVER: {MAX_ITER: 1}\nSOLVER: {MAX_ITER: 2}\n", "SOLVER"),
    "an unknown key": (b"SOLVER: {MAX_ITERS: 1}\n", "MAX_ITER"),
    "no YAML": (b"SOLVER: {MAX_ITER: 1\n", "mine.yaml"),
    "code": (b"SEED: !!python/object/apply:os.getpid []\n", "mine.yaml"),
    "a base that is not there": (b"_BASE_: absent.yaml\n", "absent.yaml"),
    "a base that is itself": (b"_BASE_: mine.yaml\n", "mine.yaml"),
}


@pytest.mark.fault("a config file that is none")
@pytest.mark.parametrize("kind", [*CONTENTS, "a folder", "nothing"])
def test_a_config_that_cannot_be_read_is_named(
    tmp_path: Path, kind: str, fault: ShownFault
) -> None:
    path = tmp_path / "mine.yaml"
    content, message = CONTENTS.get(kind, (b"", "mine.yaml"))
    if kind == "a folder":
        path.mkdir()
    elif kind != "nothing":
        path.write_bytes(content)
    with fault.clear(), pytest.raises(UserError, match=message) as caught:
        load_config(str(path))
    assert "mine.yaml" in str(caught.value) or kind == "a base that is not there"
    with fault.nothing_lost():
        assert kind in ("a folder", "nothing") or path.read_bytes() == content
    other = tmp_path / "other.yaml"
    other.write_text("SEED: 7\n")
    with fault.survived():
        assert load_config(str(other))[0].SEED == 7
