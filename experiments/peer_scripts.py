"""The peers' scripts, which run in environments of their own."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from peer_protocol import heard
from peer_tables import PeerModel

from dyhead.errors import UserError

FOLDER = Path(__file__).resolve().parent
SCRIPTS = FOLDER / "peers"


class Peer(NamedTuple):
    """A peer's script and the interpreter that runs it."""

    name: str
    python: str

    @property
    def command(self) -> tuple[str, str]:
        """The beginning of its command lines."""
        return self.python, str(SCRIPTS / f"{self.name}_peer.py")


class Description(NamedTuple):
    """The answer of a peer: versions of its packages, and the models that it can train."""

    versions: dict[str, str]
    models: list[PeerModel]


def environment(threads: int) -> dict[str, str]:
    """Return the variables of a script's process, which imports `peer_protocol`."""
    paths = (str(FOLDER), str(FOLDER.parent), os.environ.get("PYTHONPATH", ""))
    return {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def describe(peer: Peer, variables: Mapping[str, str], weights: Sequence[str] = ()) -> Description:
    """Ask a peer for its description.

    Args:
        peer: its script is run.
        variables: of the process.
        weights: files that it can start from besides.

    Raises:
        UserError: its script fails, or two files have one name.
    """
    names: dict[str, str] = {}
    for file in weights:
        if (name := Path(file).name) in names:
            raise UserError(f"{names[name]} and {file} would both be known as {name}: rename one.")
        names[name] = file
    done = subprocess.run(
        [*peer.command, "describe"], capture_output=True, text=True, env={**os.environ, **variables}
    )
    said = [content for line in done.stdout.splitlines() if (content := heard(line))]
    if done.returncode or not said:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise UserError(f"{peer.python} cannot run the peer {peer.name}: {reason}")
    pairs = [tuple(pair) for pair in said[0]["models"]]
    pairs += [(Path(file).stem, str(Path(file).resolve())) for file in weights]
    return Description(said[0]["versions"], [PeerModel(peer.name, *pair) for pair in pairs])
