"""The version of the code that runs, and its commit where it runs from a checkout."""

import subprocess
from pathlib import Path

from dyhead import __version__

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = ":(exclude,glob)**/results/**"  # written by the runs themselves
_TIMEOUT = 10.0  # seconds; a run does not wait for a slow file system


def describe_code() -> dict[str, str]:
    """Return the version as "dyhead", and the commit as "commit" where there is one."""
    commit = find_commit()
    return {"dyhead": __version__, **({"commit": commit} if commit else {})}


def find_commit(folder: Path = PROJECT) -> str:
    """Return the commit that a git checkout has at hand.

    Args:
        folder: of the checkout, itself: an environment within another project's is none.

    Returns:
        12 digits, with "-dirty" where tracked files were changed, but for those in folders of
        `results`; "" for an installed package, or where git cannot tell.
    """
    if not (folder / ".git").exists():
        return ""
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "diff", "--name-only", "HEAD", "--", ".", RESULTS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    found = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=True
    )
    return found.stdout.strip()
