"""Names for what is drawn: those of the sources, and no file twice."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dyhead.prediction.sources import Kind, Source

JSON_NAME = "predictions.json"
CSV_NAME = "predictions.csv"


def choose_targets(sources: Sequence[Source], output: Path) -> list[Path]:
    """Choose a file below `output` for each source, as its path within the folder that was named.

    Pictures of formats that cannot be written become PNG, videos MP4. Where a name is taken, by
    another source's drawing or by a source itself, a number is added.
    """
    taken = {_key(output / name) for name in (JSON_NAME, CSV_NAME)}
    taken |= {_key(Path(source.location)) for source in sources}
    targets = []
    for source in sources:
        wanted = output / source.name.with_name(_file_name(source))
        target, number = wanted, 2
        while _key(target) in taken:
            target = wanted.with_stem(f"{wanted.stem}-{number}")
            number += 1
        taken.add(_key(target))
        targets.append(target)
    return targets


def _file_name(source: Source) -> str:
    if source.kind is not Kind.PICTURE:
        return f"{source.name.stem}.mp4"
    file_format = Image.registered_extensions().get(source.name.suffix.lower())
    is_single = file_format in Image.SAVE and file_format not in ("GIF", "PDF")
    return source.name.name if is_single else f"{source.name.stem}.png"


def _key(path: Path) -> str:
    """The same for the same file, on systems too that take large and small letters for equal."""
    return str(path.resolve()).casefold()
