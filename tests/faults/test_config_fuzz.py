"""No single wrong value of any key ends in a traceback, in a hang, or unseen."""

import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from shown_faults import ShownFault
from small_program import CONFIG, command_line

from dyhead.config import load_config
from dyhead.config.load import leaf_keys, value_of
from dyhead.engine import parse_arguments
from dyhead.engine.train_net import main
from dyhead.errors import UserError

NUMBERS = ("-1", "0", "1", "2", "3", "7", "-0.5", "0.0", "0.5", "1.0", "2.0", "nan", "1e999")
LISTS = ("[]", "()", "[None]", "[-1]", "[0.5]", "[1, 2]", "[0, 0]", "['a']", "[[]]", "[[1]]")
TEXTS = ("", " ", "nonsense", "{}", "{'a': 1}", "{1}", "1j", "b'x'", "'quoted", "[1", "\t", "None")
FLAGS = ("True", "False")
ALL = (*NUMBERS, *LISTS, *TEXTS, *FLAGS)
OF_TYPE = {int: NUMBERS, float: NUMBERS, list: LISTS, tuple: LISTS, str: TEXTS, bool: ALL}
# A run with these is a legitimate one, but no quick one, or it is judged by other tests.
NOT_VARIED = {
    "OUTPUT_DIR",
    "DATASETS.COCO_JSON",
    "MODEL.DEVICE",
    "MODEL.COMPILE.ENABLED",
    "SOLVER.MINUTES",
}
LIMIT = 300  # seconds of a run of one step, on a machine that does much else


def wrong_values() -> Iterator[tuple[str, str]]:
    """Yield for each key a value of its type, and one of any."""
    rng = random.Random(18)
    cfg, _ = load_config("")
    for key in leaf_keys(cfg):
        if key not in NOT_VARIED:
            yield key, rng.choice(OF_TYPE.get(type(value_of(cfg, key)), ALL))
            yield key, rng.choice(ALL)


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def fail(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.fault("a wrong value of any config key (two for each of all keys)")
@pytest.mark.slow
@pytest.mark.usefixtures("own_catalogs")
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="the system has no alarm clock")
def test_any_single_wrong_value_is_refused_in_a_sentence_or_serves_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: ShownFault
) -> None:
    monkeypatch.setattr("dyhead.evaluation.reports.draw_mosaic", lambda *_: None)
    monkeypatch.setattr("dyhead.engine.hooks.plot_curves", lambda *_: None)
    arguments = [*command_line(tmp_path, 2), "SOLVER.MAX_ITER", "1"]
    arguments += ["SOLVER.CHECKPOINT_PERIOD", "9", "SOLVER.CHECKPOINT_FINAL_STRIPPED", "True"]
    tried, refused, unclear, failures = 0, 0, [], []
    for key, value in wrong_values():
        tried += 1
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        try:
            with time_limit(LIMIT):
                main(parse_arguments([*arguments, "--", key, value]))
        except (UserError, FloatingPointError) as error:
            refused += 1
            if key.rpartition(".")[2] not in str(error):
                unclear.append(f"{key} {value!r} is refused without its name: {error}")
        except (Exception, SystemExit) as error:
            failures.append(f"{key} {value!r}: {type(error).__name__}: {error}")
    print(f"{tried} values, {refused} refused, {tried - refused} served a run")
    assert tried >= 300
    fault.tried(tried)
    with fault.clear():
        assert unclear == []
    with fault.survived():
        assert failures == []
    with fault.nothing_lost():  # what was written beside the runs is untouched
        assert len(list((tmp_path / "images").iterdir())) == 2
        assert (tmp_path / "config.yaml").read_text() == CONFIG
