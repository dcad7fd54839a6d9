"""The next of something is made while one is used."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """`items` in order, each made by another thread while the one before it is used.

    What fails there is raised here, after the items before it.
    """
    source = iter(items)

    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        coming = thread.submit(list, itertools.islice(source, 1))
        while found := coming.result():
            coming = thread.submit(list, itertools.islice(source, 1))
            yield from found
