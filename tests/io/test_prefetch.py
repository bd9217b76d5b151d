"""Items made ahead in a thread."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotiwave_core.errors import DataError
from emotiwave_core.io.prefetch import prefetch


def threads() -> list[threading.Thread]:
    """Those that make items."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@settings(deadline=None, max_examples=20)
@given(items=st.lists(st.none() | st.integers() | st.just(()), max_size=12), depth=st.integers(1, 4))
def test_the_same_items_come_in_the_same_order(items: list[object], depth: int) -> None:
    """Whatever they are, also what is empty or None; no thread is left."""
    assert list(prefetch(items, depth)) == items
    assert not threads()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_as_many_as_asked_are_made_before_they_are_needed(depth: int) -> None:
    """With `depth` items waiting no further one is made, and none before the first is asked for."""
    made, enough = [], threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            enough.release()
            yield number

    stream = prefetch(items(), depth)
    assert not made
    for taken in range(3):
        assert next(stream) == taken
        for _ in range(depth + 1 if taken == 0 else 1):
            assert enough.acquire(timeout=300)
        assert not enough.acquire(timeout=0.05)
        assert made == list(range(taken + 1 + depth))
    stream.close()


@pytest.mark.parametrize("error", [DataError, KeyboardInterrupt])
def test_an_error_comes_in_its_turn(error: type[BaseException]) -> None:
    """Items made before an error come first, then the error with its type and message; no thread is left."""

    def items() -> Iterator[int]:
        yield from (1, 2)
        raise error("the third is not to be had")

    stream = prefetch(items())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(error, match="the third is not to be had"):
        next(stream)
    assert not threads()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_leaving_early_ends_the_thread(error: type[BaseException]) -> None:
    """By `break` or by an error of the consumer, Ctrl-C among them; what made the items is closed."""
    closed: list[bool] = []

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    def wrapped() -> Iterator[int]:
        return (item + 1 for item in prefetch(items()))

    for item in wrapped():
        if item == 3:
            break
    assert not threads()

    def consume() -> None:
        for item in wrapped():
            if item == 3:
                raise error

    with pytest.raises(error):
        consume()
    assert not threads()
    assert closed == [True, True]
