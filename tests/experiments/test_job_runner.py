"""Jobs run once, within their budget, and their ends are told."""

import json
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import job_runner
import pytest
from job_runner import Job, Runner
from run_results import DONE, restore_result

SCORE = "import json, pathlib, sys; pathlib.Path(sys.argv[1], 'x').write_text('{\"AP\": 40.0}')"


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "x").read_text())


def make_job(folder: Path, code: str = SCORE, seconds: float = 5.0, kind: str = "") -> Job:
    command = (sys.executable, "-S", "-c", code, str(folder))
    return Job(folder.name, command, folder, seconds, read, kind)


def run(groups: Sequence[Sequence[Job]], budget: float = 100.0, **options: Any) -> Runner:
    runner = Runner(groups, budget, **options)
    runner.run()
    return runner


def test_a_complete_job_is_not_repeated(tmp_path: Path) -> None:
    job = make_job(tmp_path / "a", SCORE + "; import time; time.sleep(0.2)")
    run([[job]])
    first = job.result()
    assert first is not None and first["AP"] == 40 and first["seconds"] > 0
    run([[make_job(tmp_path / "a", "raise SystemExit(1)")]])
    assert job.result() == first


def test_an_incomplete_job_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "half").touch()
    job = make_job(tmp_path / "a")
    run([[job]])
    assert job.result() and not (tmp_path / "a" / "half").exists()


def test_a_job_of_several_groups_runs_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = make_job(tmp_path / "shared")
    run([[shared, make_job(tmp_path / "a")], [shared, make_job(tmp_path / "b")]])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "[1/3] shared",
        "[2/3] a",
        "[3/3] b",
    ]
    assert "AP 40.0" in lines[0] and "h left, until " in lines[0]


def test_a_group_that_does_not_fit_into_the_budget_is_not_begun(tmp_path: Path) -> None:
    """The second group would fit by half: its baseline alone would say nothing."""
    groups = [[make_job(tmp_path / f"{i}{j}", seconds=40) for j in range(2)] for i in range(2)]
    run(groups, budget=100.0, workers=1)
    assert all(job.result() for job in groups[0])
    # the pace of the first jobs shows that they take a fraction of what was expected
    assert all(job.result() for job in groups[1])
    late = [[make_job(tmp_path / f"late{j}", seconds=60) for j in range(2)]]
    run(late, budget=100.0, workers=1)
    assert not any(job.folder.exists() for job in late[0])
    run(late, budget=100.0, workers=2)  # side by side they fit
    assert all(job.result() for job in late[0])


def test_a_failure_is_told_and_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = make_job(tmp_path / "bad", "print('first'); raise SystemExit('no such key')")
    unread = make_job(tmp_path / "unread", "pass")
    good = make_job(tmp_path / "good")
    runner = run([[bad], [unread], [good]])
    assert runner.failures["bad"] == "no such key"
    assert runner.failures["unread"].startswith("its result cannot be read: ")
    assert good.result() and not bad.result() and not (bad.folder / DONE).exists()
    assert "bad: failed: no such key" in capsys.readouterr().out


def test_a_job_hangs_when_its_log_no_longer_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that goes on to write may take many times as long as expected."""
    monkeypatch.setattr(job_runner, "HANGS_AFTER", 3.0)
    monkeypatch.setattr(job_runner, "GRACE", 0.5)
    step = "import time; print('step 20, all is well', flush=True); time.sleep"
    hangs = make_job(tmp_path / "hangs", f"{step}(60)", seconds=0.1)
    steps = f"for _ in range(25):\n  {step}(0.2)\n"
    slow = make_job(tmp_path / "slow", steps + SCORE, seconds=0.1)
    runner = run([[hangs], [slow]])
    assert runner.failures == {"hangs": "ended, for its log did not grow for 0 min"}
    assert not hangs.result()
    result = slow.result()
    assert result and result["seconds"] > job_runner.HANGS_AFTER


def test_a_kind_that_failed_takes_no_budget_from_others(tmp_path: Path) -> None:
    """Three expected jobs of 60 seconds do not fit into 150, but two do."""

    def group(length: str) -> list[Job]:
        fails = make_job(tmp_path / f"{length} fails", "raise SystemExit('no network')", 60, "a")
        return [fails, *(make_job(tmp_path / f"{length} {i}", seconds=60, kind=i) for i in "bc")]

    first = make_job(tmp_path / "first", "raise SystemExit('no network')", 60, "a")
    second = group("second")
    runner = Runner([[first], second], 150)
    assert runner.seconds_left() == 4 * 60
    runner.run()
    assert [bool(job.result()) for job in second] == [False, True, True]
    assert runner.seconds_left() == 0, "what failed is not begun again in this call"
    alone = group("alone")
    run([alone], budget=150)
    assert not any(job.folder.exists() for job in alone)


def test_results_are_reported_after_each_job(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / name) for name in "ab"]
    seen = []
    runner = Runner([jobs], 100, report=lambda: seen.append([bool(j.result()) for j in jobs]))
    runner.run()
    assert seen == [[True, False], [True, True]]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_an_interrupt_ends_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(job_runner, "GRACE", 0.5)
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, earlier))  # ignores it
    code = "import os, pathlib, sys, time; p = pathlib.Path(sys.argv[1], 'pid');"
    code += "p.with_name('t').write_text(str(os.getpid())); p.with_name('t').rename(p);"
    job = make_job(tmp_path / "long", code + "time.sleep(60)")
    runner = Runner([[job]], 100)

    def interrupt() -> None:
        while not (job.folder / "pid").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((job.folder / "pid").read_text()), 0)
    assert not job.result() and not runner.failures


def test_a_job_is_not_begun_when_the_others_of_its_group_have_spent_the_budget(
    tmp_path: Path,
) -> None:
    slow = make_job(tmp_path / "slow", "import time; time.sleep(3); " + SCORE, seconds=0.5)
    late = make_job(tmp_path / "late", seconds=0.5)
    run([[slow, late]], budget=2.0)
    assert slow.result() and not late.folder.exists()


@pytest.mark.parametrize("needs_all", [True, False])
def test_what_compares_with_a_failed_job_is_skipped_where_it_needs_it(
    needs_all: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails = make_job(tmp_path / "fails", "raise SystemExit('no such key')")
    others = [make_job(tmp_path / name) for name in "abc"]
    groups = [[fails, others[0]], [fails, others[1]], [others[2], others[0]]]
    runner = Runner(groups[:2], 100, needs_all=needs_all)
    runner.run()
    assert [bool(job.result()) for job in others] == [not needs_all, not needs_all, False]
    assert capsys.readouterr().out.count("skipped, for fails failed") == 2 * needs_all
    assert runner.seconds_left() == 0
    run(groups, needs_all=needs_all)
    assert others[0].result(), "by another comparison, which does not need it"


def test_what_is_left_follows_the_pace_of_what_was_done(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / name, seconds=1000) for name in "abc"]
    runner = Runner([jobs[:1], jobs[1:]], 1500, workers=1)
    assert runner.seconds_left() == 3000
    runner.run()
    assert all(job.result() for job in jobs), "the first one showed that there is time for all"
    assert runner.seconds_left() == 0


def test_what_is_left_follows_the_pace_of_complete_jobs_that_compare(tmp_path: Path) -> None:
    """Of earlier calls: one of them took thrice as long as expected, another machine's less."""
    jobs = [make_job(tmp_path / name, seconds=100) for name in "abcd"]
    for job, seconds, cores in ((jobs[0], 300, 2), (jobs[1], 10, 64)):
        restore_result(job.folder, {"AP": 40, "seconds": seconds, "cores": cores})
    restore_result(jobs[2].folder, {"AP": 40, "cores": 2})  # as results were written before
    runner = Runner([jobs], 1000, compares=lambda result: result["cores"] == 2)
    assert runner.seconds_left() == runner.expected(jobs[3]) == 300
    assert Runner([jobs], 1000).expected(jobs[3]) == statistics.median((300, 10))
