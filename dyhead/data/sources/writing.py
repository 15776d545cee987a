"""Writes a data set as a COCO json."""

from pathlib import Path

from dyhead.data.sources.parts import split_path
from dyhead.data.sources.source import Source
from dyhead.errors import UserError, user_errors
from dyhead.output_folder import refuse_inputs
from dyhead.safe_io.json_text import write_json


def write_coco(source: Source, output: Path) -> None:
    """Write what was read, unchanged, as one json file; file names start at `source.image_root`.

    Raises:
        UserError: the file is the source itself or no .json, or cannot be written.
    """
    refuse_to_replace(source.path, output)
    with user_errors(f"{output} cannot be written"):
        write_json(source.content, output)


def refuse_to_replace(source: Path, output: Path) -> None:
    """Check the name of a file that is made from a source.

    Raises:
        UserError: it is the source's own, a folder, or does not end in .json.
    """
    if output.suffix.lower() != ".json" or output.is_dir():
        raise UserError(f"{output}: give a file name that ends in .json.")
    refuse_inputs(output, [split_path(source)[0]])
