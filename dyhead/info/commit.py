"""The commit of the code that runs, where it runs from a checkout."""

import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_TIMEOUT = 10.0  # seconds; a run does not wait for a slow file system


def find_commit(folder: Path = PROJECT) -> str:
    """Return the commit that a git checkout has at hand.

    Args:
        folder: of the checkout, itself: an environment within another project's is none.

    Returns:
        12 digits, with "-dirty" where tracked files were changed; "" for an installed package, or
        where git cannot tell.
    """
    if not (folder / ".git").exists():
        return ""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
