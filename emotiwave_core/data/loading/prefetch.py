"""The next items made in a thread while this one is used."""

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
    pool = ThreadPoolExecutor(1, "ahead")

    def make() -> tuple[Item, ...]:
        return tuple(islice(source, 1))  # none behind the last

    try:
        waiting = deque(pool.submit(make) for _ in range(depth))
        while made := waiting.popleft().result():
            waiting.append(pool.submit(make))
            yield made[0]
    finally:
        pool.shutdown(cancel_futures=True)
