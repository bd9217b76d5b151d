"""Quiet for the libraries that trace and translate: they log and warn about their own code."""

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """Within it no library warns, nor logs anything but errors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
