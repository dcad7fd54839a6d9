"""The one exception that means: the user can fix this; and the one that is nobody's mistake."""

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path


class InputError(ValueError):
    """Bad input. The message names the file, key or image and says what to do about it."""


class Stopped(SystemExit):
    """The process was asked to end, whatever it was at."""


@contextlib.contextmanager
def naming(subject: str) -> Iterator[None]:
    """Put `subject`, a key or a file, in front of the message of an `InputError` raised within."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{subject}: {error}") from error


@contextlib.contextmanager
def in_the_users_code(what: str, advice: str) -> Iterator[None]:
    """An error within, or an exit, becomes an `InputError` of `what` fails, the error, `advice`."""
    try:
        yield
    except (InputError, Stopped):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{what} ({in_one_line(error)}){advice}") from error


def in_one_line(error: BaseException) -> str:
    """Kind and first line of an error, and the last line of the user's own code that it passed."""
    text = str(error).strip().partition("\n")[0]
    described = f"{type(error).__name__}: {text}" if text else type(error).__name__
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    return described + (f", in {own[-1].filename}, line {own[-1].lineno}" if own else "")


def _is_own(file: str) -> bool:
    """Whether a file is neither of this library, nor of Python, nor of an installed package."""
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")}
    installed |= {str(Path(__file__).parent), str(Path(os.__file__).parent), "<"}
    return not file.startswith(tuple(installed)) and "-packages" not in file
