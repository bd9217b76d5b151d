"""Choice of what `make test` tries of a law with many rows; `make full` or `make slow` tries the others."""

from collections.abc import Iterable
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

T = TypeVar("T")


def in_short(rows: Iterable[T], *chosen: T, others: pytest.MarkDecorator = pytest.mark.slow) -> list[T | ParameterSet]:
    """The rows of a parametrised test, of which all but the chosen ones are slow, or have another mark."""
    return [row if row in chosen else pytest.param(row, marks=others) for row in rows]
