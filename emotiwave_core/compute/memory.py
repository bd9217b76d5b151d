"""Retrying with smaller batches what does not fit the memory, where the recipe allows it."""

from collections.abc import Callable
from typing import TypeVar

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import is_out_of_memory
from emotiwave_core.monitor import SILENT, Monitor

T = TypeVar("T")


def retry_smaller_batches(
    work: Callable[[int], T], size: int, recipe: Recipe, what: str, monitor: Monitor = SILENT
) -> T:
    """Call `work` for `size` samples at a time; with `computing.auto_batch` for half as many when memory runs out.

    The error of the memory itself without that, or where a single sample is too much.
    """
    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError) as error:
            if not (recipe.computing.auto_batch and is_out_of_memory(error)) or size == 1:
                raise
        size = -(-size // 2)  # out here the frames of the error are gone, and what they held
        monitor.say(f"Memory is short: {what} takes {size} samples at a time.")
