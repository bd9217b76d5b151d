"""Recurrences in an exported graph: torch unrolls an LSTM or a GRU over the number of steps that it was traced with.

To know the size of its states, torch runs a decomposition that takes step after step, and the number of steps is a
constant from there on. Told the sizes instead, it leaves each recurrence whole: one operator for any length, which both
ONNX and a graph of torch have.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table


def _lstm(x: Tensor, hx: Sequence[Tensor], *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _states(x, hx[0], *rest), torch.empty_like(hx[0]), torch.empty_like(hx[1])


def _gru(x: Tensor, hx: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return _states(x, hx, *rest), torch.empty_like(hx)


def _states(x: Tensor, hidden: Tensor, *rest: Any) -> Tensor:
    """A tensor of the size of all states, x [B, T, F] or [T, B, F] -> [..., H], or [..., 2H] of both directions."""
    _, _, _, _, _, bidirectional, _ = rest
    return x.new_empty(*x.shape[:-1], hidden.shape[-1] * (2 if bidirectional else 1))


SIZES = {torch.ops.aten.lstm.input: _lstm, torch.ops.aten.gru.input: _gru}


@contextlib.contextmanager
def recurrences_kept() -> Iterator[None]:
    """Within it what torch traces has one operator for each recurrence, of any number of steps."""
    tables: list[tuple[dict[Any, Any], Any, Any]] = [(decomposition_table, operator, operator) for operator in SIZES]
    tables += [(operator.py_kernels, key, operator) for operator in SIZES for key in operator.py_kernels]
    before = [table[key] for table, key, _ in tables]
    try:
        for table, key, operator in tables:
            table[key] = SIZES[operator]
        _forget()
        yield
    finally:
        for (table, key, _), value in zip(tables, before, strict=True):
            table[key] = value
        _forget()


def _forget() -> None:
    """Let torch look its kernels up anew."""
    for operator in SIZES:
        operator._dispatch_cache.clear()
