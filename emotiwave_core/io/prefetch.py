"""Prefetching: the next items are made in a thread while this one is used."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """The same items in the same order, `depth` of them made before they are asked for; an error comes in its turn.

    The thread ends with the last item, with an error, and where the consumer leaves early.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(1, "prefetch")

    def make_next() -> tuple[Item, ...]:
        return tuple(islice(source, 1))  # empty behind the last

    try:
        pending = deque(pool.submit(make_next) for _ in range(depth))
        while item := pending.popleft().result():
            pending.append(pool.submit(make_next))
            yield item[0]
    finally:
        pool.shutdown(cancel_futures=True)
