"""Functions in processes of their own, which start with all that a test has imported: at once."""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any

_FORK = multiprocessing.get_context("fork")


def started(function: Callable[..., None], *arguments: object) -> tuple[ForkProcess, Connection]:
    """A process that runs ``function(sender, *arguments)``, and what receives from the sender."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=function, args=(sender, *arguments))
    process.start()
    sender.close()
    return process, receiver


def result(function: Callable[..., Any], *arguments: object) -> Any:
    """What the function returns there; raises `AssertionError` with the traceback if it raises."""
    process, receiver = started(_returned, function, *arguments)
    failed, found = receiver.recv()
    process.join()
    assert not failed, found
    return found


def _returned(sender: Connection, function: Callable[..., Any], *arguments: object) -> None:
    try:
        sender.send((False, function(*arguments)))
    except BaseException:
        sender.send((True, traceback.format_exc()))
