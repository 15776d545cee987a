"""Errors about a user's input: one sentence instead of a traceback."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A config, a file or an option that cannot be used; the message names it and the fix."""


@contextmanager
def user_errors(source: str = "") -> Iterator[None]:
    """Turn errors raised while reading what the user gave into `UserError`.

    Wrap only the reading and checking of input with it: a ValueError from the middle of training is
    a bug and deserves its traceback.

    Args:
        source: where the input came from; put before the message when given.

    Raises:
        UserError: in place of a ValueError, KeyError or OSError from the body.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, KeyError, OSError) as error:
        # str() of a KeyError is the repr of its message
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise UserError(f"{source}: {message}" if source else str(message)) from error


def first_few(names: Collection[str], count: int = 6) -> str:
    """Join the first names of a list for a sentence; "..." stands for the others."""
    return ", ".join(list(names)[:count]) + (", ..." if len(names) > count else "")
