"""The file `last_checkpoint` of a run's folder, which names the checkpoint to go on from."""

import os

TAG = "last_checkpoint"
_LONGEST = 255  # characters of a file name


def write_tag(folder: str | os.PathLike[str], name: str) -> None:
    """Let `last_checkpoint` name a file of its own folder.

    Raises:
        ValueError: `name` is no plain file name.
        OSError: the folder cannot be written; an older tag stays.
    """
    if not is_plain_name(name):
        raise ValueError(f"Checkpoint name {name!r} must be a plain file name.")
    # It brings PyTorch, which those who only look for a tag need not wait for.
    from dyhead.safe_io.save import write_text_atomically

    write_text_atomically(name, os.path.join(folder, TAG))


def read_tag(folder: str | os.PathLike[str]) -> str:
    """Return the file name in `last_checkpoint`.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it holds anything but the plain name of a file in its own folder.
    """
    path = os.path.join(folder, TAG)
    with open(path, "rb") as file:
        content = file.read(4 * _LONGEST + 3)
    try:
        name = content.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: write the name of a checkpoint into it.") from error
    if not is_plain_name(name):
        raise ValueError(
            f"{path} names {name[:_LONGEST]!r}, but it may only hold the plain name of a file"
            " beside it, such as model_final.pth: write that of a checkpoint into it."
        )
    return name


def is_plain_name(name: str) -> bool:
    """Tell whether a text is the name of a file, without any part of a path, on every system."""
    is_path = any(sign in name for sign in "/\\:\0\n") or name in (".", "..")
    return 0 < len(name) <= _LONGEST and not is_path
