"""The command trains all peers, scores them alike and times them in turns."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peer_scripts
import peers
import pytest
from peer_timing import Milliseconds

# Finds all objects, but with 5 minutes only those of the first class.
PEER = """
import pathlib, time
from peer_protocol import Found, Model, Peer, main

class Fake(Model):
    parameters = 5_000_000
    def __init__(self, task, is_timed):
        self.by_path = {picture.path: picture for picture in task.val.pictures}
        self.kinds = 1 if task.minutes < 10 else 2
        self.wait = SECONDS if is_timed else 0
    def read(self, path):
        return path
    def detect(self, path):
        time.sleep(self.wait)
        boxes = [box for box in self.by_path[path].boxes if box[4] < self.kinds]
        corners = [(x, y, x + width, y + height) for x, y, width, height, _ in boxes]
        return Found(corners, [0.5] * len(boxes), [box[4] for box in boxes])

class FakePeer(Peer):
    def versions(self):
        return {"fake": "1.0"}
    def models(self):
        return MODELS
    def train(self, task):
        if task.weights == "ImageNet":
            raise SystemExit("no network")
        with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
            print(task.model, task.minutes, task.seed, task.height, task.width, file=calls)
    def load(self, task, is_timed):
        return Fake(task, is_timed)

main(FakePeer())
"""
TORCH = "def set_num_threads(n): pass\ndef manual_seed(n): pass\n"  # for a quick start


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two peers: one of a quick model, one of a slow model that may fail."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name, seconds, models in (
        ("own", 0.002, [("small", "random")]),
        ("torchvision", 0.02, [("large", "random"), ("large", "ImageNet")]),
    ):
        text = PEER.replace("SECONDS", str(seconds)).replace("MODELS", repr(models))
        (folder / f"{name}_peer.py").write_text(text)
    (folder / "torch.py").write_text(TORCH)
    recipe = tmp_path / "small.yaml"
    recipe.write_text("SOLVER: {MAX_ITER: 100}\n")
    monkeypatch.setattr(peers, "find_config", lambda name: recipe)
    monkeypatch.setattr(peer_scripts, "SCRIPTS", folder)
    monkeypatch.setattr(peers, "PROJECT", tmp_path)
    return folder


def call(cells: Path, *arguments: str) -> dict[str, Any]:
    """Call the command; what `arguments` say again replaces the options here."""
    results = cells.parent / "results"
    options = ["--minutes", "5", "10", "--rounds", "3", "--threads", "1"]
    peers.main(["--data", str(cells), "--results", str(results), *options, *arguments])
    return json.loads((results / "peers.json").read_text())


def test_one_table_has_scores_and_times_of_all(cells: Path, scripts: Path) -> None:
    content = call(cells)
    text = (cells.parent / "results" / "peers.md").read_text()
    small, large = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(("| own", "| torchvision"))
    )
    assert small[:2] == ["own small", "random"]
    assert small[3:5] == ["50.0 / 50.0 / 50.0", "100.0 / 100.0 / 100.0"]
    assert small[6] == "1.00" and small[8] == "5.0 M"
    assert float(large[6]) > 3 and 20 < float(large[5]) < 60
    assert set(content["failures"].values()) == {"no network"}
    assert len(content["failures"]) == 2 and "ImageNet, 5 min, seed 1 failed: no network" in text
    assert content["versions"]["own"] == {"fake": "1.0"}
    assert "detections that count: own 0.001, torchvision 0.001." in text
    logs = [path.read_text() for path in (cells.parent / "output" / "peers").glob("*small*.log")]
    assert len(logs) == 2 and all("Detecting in picture 1 of 3" in log for log in logs)


def test_the_shortest_trainings_of_all_come_first_and_none_twice(
    cells: Path, scripts: Path
) -> None:
    call(cells, "--only", "random")
    call(cells, "--only", "random", "--seeds", "2")
    calls = [line.split()[:3] for line in (scripts / "calls").read_text().splitlines()]
    assert calls == [
        [model, minutes, seed]
        for seed in "12"
        for minutes in ("5.0", "10.0")
        for model in ("small", "large")
    ]


def test_what_a_later_call_leaves_out_stays_in_the_results(cells: Path, scripts: Path) -> None:
    first = call(cells, "--only", "random")
    boards = shutil.copytree(cells, cells.with_name("boards"))
    shutil.rmtree(cells.parent / "output")
    again = call(boards, "--only", "small", "--minutes", "5")
    assert len(first["runs"]) == 4 and first["runs"] == again["runs"][:4]
    (new,) = again["runs"][4:]
    assert (new["data"], new["minutes"]) == ("boards", 5)
    assert first["milliseconds"] == again["milliseconds"][:2] and len(again["milliseconds"]) == 3
    assert set(again["versions"]) == {"own", "torchvision"}
    text = (cells.parent / "results" / "peers.md").read_text()
    assert "## cells\n" in text and "## boards\n" in text


def test_the_page_names_the_versions_of_all_its_runs(cells: Path, scripts: Path) -> None:
    call(cells, "--only", "small", "--minutes", "5")
    change_versions(cells, scripts)
    boards = shutil.copytree(cells, cells.with_name("boards"))
    call(boards, "--only", "small", "--minutes", "5")
    assert "own: fake 1.0 and 2.0." in (cells.parent / "results" / "peers.md").read_text()


def test_results_that_were_written_are_complete_without_their_folders(
    cells: Path, scripts: Path
) -> None:
    first = call(cells, "--only", "small")
    shutil.rmtree(cells.parent / "output")
    again = call(cells, "--only", "random")
    calls = (scripts / "calls").read_text().splitlines()
    assert [line.split()[0] for line in calls] == ["small", "small", "large", "large"]
    assert [run for run in again["runs"] if run["model"]["model"] == "small"] == first["runs"]


def change_recipe(cells: Path, scripts: Path) -> None:
    (cells.parent / "small.yaml").write_text("SOLVER: {MAX_ITER: 200}\n")


def change_versions(cells: Path, scripts: Path) -> None:
    for path in scripts.glob("*_peer.py"):
        path.write_text(path.read_text().replace('"1.0"', '"2.0"'))


def change_annotations(cells: Path, scripts: Path) -> None:
    content = json.loads((cells / "train.json").read_text())
    content["annotations"][0]["bbox"][0] += 1
    (cells / "train.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (change_recipe, ["small"]),
        (change_versions, ["large"]),
        (change_annotations, ["small", "large"]),
    ],
)
def test_a_run_of_another_state_is_not_complete(
    change: Callable[[Path, Path], None], again: list[str], cells: Path, scripts: Path
) -> None:
    first = call(cells, "--only", "random", "--minutes", "5")
    change(cells, scripts)
    content = call(cells, "--only", "random", "--minutes", "5")
    calls = [line.split()[0] for line in (scripts / "calls").read_text().splitlines()]
    assert calls == ["small", "large", *again]
    assert len(content["runs"]) == 2
    stale = [run for run in first["runs"] if run["model"]["model"] in again]
    assert content["earlier"] == stale, "which stay, beside the tables"


@pytest.mark.parametrize("more", [("--minutes", "5", "10"), ("--minutes", "5", "--seeds", "2")])
def test_a_row_has_runs_of_one_recipe(more: tuple[str, ...], cells: Path, scripts: Path) -> None:
    """Nor is a mean over seeds of two recipes."""
    first = call(cells, "--only", "random", *more)
    change_recipe(cells, scripts)
    content = call(cells, "--only", "random", "--minutes", "5")
    own = [run["model"]["model"] == "small" for run in content["runs"]]
    assert (own.count(True), own.count(False)) == (1, 2)
    assert content["earlier"] == [run for run in first["runs"] if run["model"]["model"] == "small"]


def test_no_result_stands_under_the_name_of_another_recipe(cells: Path, scripts: Path) -> None:
    """The first training changes the recipe, as a user may while it runs."""
    path = scripts / "own_peer.py"
    edit = f"pathlib.Path({str(cells.parent / 'small.yaml')!r}).write_text('SEED: 5')"
    place = "        with open(pathlib"
    path.write_text(path.read_text().replace(place, f"        {edit}\n{place}"))
    content = call(cells, "--only", "random")
    calls = [line.split()[:2] for line in (scripts / "calls").read_text().splitlines()]
    assert calls == [["small", "5.0"], ["large", "5.0"], ["large", "10.0"]]
    assert [run["model"]["model"] for run in content["runs"]] == ["large", "large"]
    assert len(content["failures"]) == 2
    assert all("was changed since this call began" in why for why in content["failures"].values())


def test_rows_of_other_annotations_leave_the_table(cells: Path, scripts: Path) -> None:
    call(cells, "--only", "random", "--minutes", "5")
    change_annotations(cells, scripts)
    content = call(cells, "--only", "small", "--minutes", "5")
    assert [run["model"]["model"] for run in content["runs"]] == ["small"]
    assert [each["model"] for each in content["milliseconds"]] == ["small"]
    assert len(content["earlier"]) == 2


def with_times_of(milliseconds: float, results: dict[str, Any], path: Path) -> None:
    """Write the results of a call as if all its detectors had taken that long."""
    for each in results["milliseconds"]:
        each["detecting"] = milliseconds
    path.write_text(json.dumps(results))


def test_times_of_as_many_detectors_take_the_place_of_the_known_ones(
    cells: Path, scripts: Path
) -> None:
    with_times_of(9999.0, call(cells, "--only", "random"), cells.parent / "results" / "peers.json")
    again = call(cells, "--only", "random")
    assert all(each["detecting"] < 1000 for each in again["milliseconds"])
    assert len({each["session"] for each in again["milliseconds"]}) == 1


def test_a_detector_that_is_timed_alone_keeps_its_time_beside_others(
    cells: Path, scripts: Path
) -> None:
    with_times_of(9999.0, call(cells, "--only", "random"), cells.parent / "results" / "peers.json")
    again = call(cells, "--only", "small")
    assert [each["detecting"] for each in again["milliseconds"]] == [9999, 9999]
    assert len({each["session"] for each in again["milliseconds"]}) == 1


def test_a_detector_of_another_recipe_does_not_keep_its_time(cells: Path, scripts: Path) -> None:
    with_times_of(9999.0, call(cells, "--only", "random"), cells.parent / "results" / "peers.json")
    change_recipe(cells, scripts)
    again = call(cells, "--only", "small")
    shown = {each["model"]: each["detecting"] for each in again["milliseconds"]}
    assert shown["small"] < 1000 and shown["large"] == 9999
    assert len({each["session"] for each in again["milliseconds"]}) == 2


def test_the_project_itself_comes_first(cells: Path, scripts: Path) -> None:
    call(cells, "--only", "large-random")
    call(cells, "--only", "small")
    text = (cells.parent / "results" / "peers.md").read_text()
    assert 0 < text.index("| own small") < text.index("| torchvision large")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no SIGTERM that can be caught")
def test_times_stay_when_the_call_is_ended_in_the_next_data_set(
    cells: Path, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = shutil.copytree(cells, cells.with_name("boards"))
    results = iter([{"own-small-random": Milliseconds(3.0, 4.0, "now")}])

    def time_in_turns(*arguments: Any) -> Any:
        measured = next(results, None)
        if measured is None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        return measured

    monkeypatch.setattr(peers, "time_in_turns", time_in_turns)
    with pytest.raises(SystemExit, match="Interrupted"):
        call(cells, "--data", str(boards), "--only", "small", "--minutes", "5")
    content = json.loads((cells.parent / "results" / "peers.json").read_text())
    assert [(each["data"], each["detecting"]) for each in content["milliseconds"]] == [("cells", 3)]


def test_a_failure_stays_until_the_run_is_complete(cells: Path, scripts: Path) -> None:
    call(cells, "--minutes", "5")
    assert len(call(cells, "--only", "small")["failures"]) == 1
    path = scripts / "torchvision_peer.py"
    path.write_text(path.read_text().replace('== "ImageNet"', '== "COCO"'))
    assert not call(cells, "--minutes", "5")["failures"]


@pytest.mark.parametrize(("key", "value"), [("device", "another"), ("threads", 64)])
def test_results_of_another_device_or_number_of_threads_are_refused(
    key: str, value: Any, cells: Path, scripts: Path
) -> None:
    content = {**call(cells, "--only", "small", "--minutes", "5"), key: value}
    path = cells.parent / "results" / "peers.json"
    path.write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=f"holds runs with {key} .*{value}.*another --name"):
        call(cells)
    assert json.loads(path.read_text()) == content


def test_all_get_the_input_size_of_the_recipe(cells: Path, scripts: Path) -> None:
    call(cells, "--only", "small")
    sizes = {tuple(line.split()[3:]) for line in (scripts / "calls").read_text().splitlines()}
    ((height, width),) = sizes
    assert abs(int(width) - int(height) * 4 / 3) < 1, "pictures of 64 x 48"


def test_the_table_tells_the_input_of_each_row(cells: Path, scripts: Path) -> None:
    path = scripts / "own_peer.py"
    own = "    def input_size(self, task):\n        return 24, 32\n    def versions"
    path.write_text(path.read_text().replace("    def versions", own))
    content = call(cells, "--only", "random", "--minutes", "5")
    given = dict(zip(("height", "width"), content["input (height, width)"]["cells"], strict=True))
    rows = [line.split("|") for line in (cells.parent / "results" / "peers.md").open()]
    shown = {row[1].strip(): row[3].strip() for row in rows if len(row) > 3}
    assert shown["own small"] == "24 x 32"
    assert shown["torchvision large"] == "{height} x {width}".format(**given)


def test_the_plan_trains_nothing(
    cells: Path, scripts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers.main(["--data", str(cells), "--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("cells: own-small-random, 5 min, seed 1: 6.5 min")
    assert lines[-1] == "9 runs: about 2.0 hours to go."
    assert not (scripts / "calls").exists()


def test_data_sets_of_the_same_name_are_refused(cells: Path, scripts: Path) -> None:
    other = shutil.copytree(cells, cells.parent / "other" / "cells")
    with pytest.raises(SystemExit, match=f"--data {cells} and --data {other} are both known by"):
        peers.main(["--data", str(cells), "--data", str(other), "--plan"])


def test_a_peer_that_is_not_installed_is_named(cells: Path, scripts: Path) -> None:
    (scripts / "torchvision_peer.py").write_text("import no_such_package")
    with pytest.raises(SystemExit, match="cannot run the peer torchvision: .*no_such_package"):
        peers.main(["--data", str(cells)])
