"""Runs `dyhead view`: reads the sets, and serves their page until it is stopped."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dyhead.viewer.answers import Answers
from dyhead.viewer.load import find_sets, load_set
from dyhead.viewer.picture_set import PictureSet
from dyhead.viewer.server import LocalServer


def view(
    path: Path,
    port: int,
    follow_links: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a page of a run or of labelled data to this machine, until Ctrl-C.

    Args:
        path: a run's folder, or labelled data as `read_source` takes it.
        port: 0 for any that is free.
        follow_links: show pictures that links or names lead to out of the image folder.
        say: takes what is there, and the page's address.

    Raises:
        UserError: there is nothing to show, it cannot be used, or the port is taken.
    """
    # first the port: nobody wants to hear of it after a minute of reading
    with LocalServer(port) as server, suppress(KeyboardInterrupt):
        sets = [load_set(files) for files in find_sets(path, follow_links)]
        for each in sets:
            say(_describe(each))
        say(f"{server.url} shows them. Ctrl-C ends it.")
        server.serve(Answers(path.resolve().name, sets))
    say("Stopped.")


def _describe(pictures: PictureSet) -> str:
    parts = [f"{len(pictures.pictures)} pictures", f"{len(pictures.truth.boxes)} objects"]
    if pictures.has_predictions:
        parts.append(f"{len(pictures.found.boxes)} predictions in {pictures.results_folder}")
    else:
        parts.append("no predictions")
    text = f"{pictures.name}: {', '.join(parts)}"
    if pictures.left_out:
        text += f"; {pictures.left_out} pictures cannot be used (`dyhead check` says why)"
    return text
