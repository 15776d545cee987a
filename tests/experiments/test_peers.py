"""The command trains all peers, scores them alike and times them in turns."""

import json
from pathlib import Path
from typing import Any

import peer_scripts
import peers
import pytest

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
    monkeypatch.setattr(peer_scripts, "SCRIPTS", folder)
    monkeypatch.setattr(peers, "PROJECT", tmp_path)
    return folder


def call(cells: Path, *arguments: str) -> dict[str, Any]:
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
    assert small[:4] == ["own small", "random", "50.0 / 50.0 / 50.0", "100.0 / 100.0 / 100.0"]
    assert small[5] == "1.00" and small[7] == "5.0 M"
    assert float(large[5]) > 3 and 20 < float(large[4]) < 60
    assert set(content["failures"].values()) == {"no network"}
    assert len(content["failures"]) == 2 and "ImageNet, 5 min, seed 1 failed: no network" in text
    assert content["versions"]["own"] == {"fake": "1.0"}


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


def test_all_get_the_input_size_of_the_recipe(cells: Path, scripts: Path) -> None:
    call(cells, "--only", "small")
    sizes = {tuple(line.split()[3:]) for line in (scripts / "calls").read_text().splitlines()}
    ((height, width),) = sizes
    assert abs(int(width) - int(height) * 4 / 3) < 1, "pictures of 64 x 48"


def test_the_plan_trains_nothing(
    cells: Path, scripts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers.main(["--data", str(cells), "--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("cells: own-small-random, 5 min, seed 1: 6.5 min")
    assert lines[-1] == "9 runs: about 2.0 hours to go."
    assert not (scripts / "calls").exists()


def test_a_peer_that_is_not_installed_is_named(cells: Path, scripts: Path) -> None:
    (scripts / "torchvision_peer.py").write_text("import no_such_package")
    with pytest.raises(SystemExit, match="cannot run the peer torchvision: .*no_such_package"):
        peers.main(["--data", str(cells)])
