"""Writes the mended copy of a data set: what the checks left of it, as COCO json."""

import os
from collections.abc import Sequence
from pathlib import Path

from dyhead.data.checks.identifiers import restore_ids
from dyhead.data.sources.parts import split_path
from dyhead.data_report.collect import CheckedSource
from dyhead.errors import UserError, user_errors
from dyhead.safe_io.json_text import write_json


def refuse_to_overwrite(targets: Sequence[Path | None], sources: Sequence[Path]) -> None:
    """Refuse outputs that are a source, or stand among the labels and pictures of one.

    Raises:
        UserError: an output would change a user's data.
    """
    for target in (each for each in targets if each is not None):
        for source in (split_path(each)[0] for each in sources):
            is_same = target.exists() and source.exists() and os.path.samefile(target, source)
            is_inside = source.is_dir() and source.resolve() in target.resolve().parents
            if is_same or (is_inside and target.suffix.lower() != ".html"):
                raise UserError(
                    f"{target} is of the data that is checked, which stays as it is: name another"
                    " file."
                )


def write_mended(source: CheckedSource, target: Path) -> None:
    """Write the checked copy of a source, with the source's ids; its images stay where they are.

    Raises:
        UserError: the file cannot be written.
    """
    with user_errors(f"--write {target}"):
        write_json(restore_ids(source.content), target)
