"""Writes the mended copy of a data set: what the checks left of it, as COCO json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dyhead.data.checks.identifiers import restore_ids
from dyhead.data.sources.parts import split_path
from dyhead.data_report.collect import CheckedSource
from dyhead.errors import UserError, user_errors
from dyhead.output_folder import refuse_inputs
from dyhead.safe_io.json_text import write_json


def check_targets(targets: Sequence[tuple[Path | None, str]], sources: Sequence[Path]) -> None:
    """Refuse outputs that cannot be written, are a source, or stand among the data of one.

    Args:
        targets: files to write, each with the ending that it has to have: a picture or a text of
            labels is never written over.
        sources: the data sets.

    Raises:
        UserError: an output would change a user's data, or has no folder to stand in.
    """
    for target, ending in targets:
        if target is not None:
            _refuse_data(target, sources)
            _refuse_unwritable(target, ending)


def _refuse_data(target: Path, sources: Sequence[Path]) -> None:
    paths = [split_path(each)[0] for each in sources]
    refuse_inputs(target, paths)
    for source in paths:
        is_inside = source.is_dir() and source.resolve() in target.resolve().parents
        if is_inside and target.suffix.lower() != ".html":
            raise UserError(
                f"{target} is of the data that is checked, which stays as it is: name another file."
            )


def _refuse_unwritable(target: Path, ending: str) -> None:
    if target.suffix.lower() != ending or target.is_dir():
        raise UserError(f"{target}: give a file name that ends in {ending}.")
    if not target.parent.is_dir():
        raise UserError(f"{target}: the folder {target.parent} does not exist: make it first.")


def write_mended(source: CheckedSource, target: Path) -> None:
    """Write the checked copy of a source, with the source's ids; its images stay where they are.

    Images that cannot be decoded are left out, as training does.

    Raises:
        UserError: the file cannot be written.
    """
    with user_errors(f"--write {target}"):
        write_json(restore_ids(_decodable(source)), target)


def _decodable(source: CheckedSource) -> dict[str, Any]:
    content = source.content
    images = [each for each in content["images"] if each["file_name"] not in source.undecodable]
    ids = {each["id"] for each in images}
    annotations = [each for each in content["annotations"] if each["image_id"] in ids]
    return {**content, "images": images, "annotations": annotations}
