"""Parquet, by pyarrow of the extra `tables`: the same columns as in a CSV."""

from pathlib import Path
from typing import Any

import numpy as np

from emotiwave_core.data.formats.delimited import MOST_COLUMNS, TableColumns
from emotiwave_core.data.formats.table import TableFile, is_always_text
from emotiwave_core.errors import DataError, SettingsError, short
from emotiwave_core.io.untrusted import starts_with

MOST_CELLS = 1 << 28  # which are 2 GiB of numbers
MAGIC = b"PAR1"


class ParquetFile(TableFile):
    """A Parquet file of labels or features, as pandas, Polars or audformat write it."""

    name = "parquet"
    suffixes = (".parquet", ".pq")
    is_general = False

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By its name, or its first bytes."""
        return super().recognises(path) or (path.is_file() and starts_with(path, MAGIC))

    @classmethod
    def _header(cls, path: Path) -> list[str]:
        try:
            return [column_name(name) for name in _open(path).schema_arrow.names]
        except SettingsError as error:
            raise DataError(str(error)) from error

    @classmethod
    def _load(cls, path: Path) -> TableColumns:
        file = _open(path)
        import pyarrow

        if file.metadata.num_columns > MOST_COLUMNS:
            raise DataError(f"{path} has {file.metadata.num_columns} columns; at most {MOST_COLUMNS} are read.")
        if file.metadata.num_rows * file.metadata.num_columns > MOST_CELLS:
            raise DataError(f"{path} has more than {MOST_CELLS} cells, and is not read; split it.")
        try:
            table = file.read(use_threads=False)
        except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
            raise DataError(f"{path} is damaged: {short(str(error))}.") from error
        if not table.num_rows:
            raise DataError(f"{path} has no row.")
        numbers, texts = {}, {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            values = _numbers(path, name, column)
            name = column_name(name)
            if values is None or is_always_text(name):
                texts[name] = [_text(cell) for cell in column.to_pylist()] if values is None else _texts(values, column)
            else:
                numbers[name] = values
        names = tuple(column_name(name) for name in table.column_names)
        return TableColumns(names, numbers, texts, table.num_rows)


def column_name(name: str) -> str:
    """The name of a column; that of an index without a name, as pandas writes it, is empty."""
    return "" if name.startswith("__index_level_") else name


def _open(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SettingsError(f"{path} is Parquet, which needs pyarrow: pip install 'emotiwave[tables]'.") from error
    try:
        return pyarrow.parquet.ParquetFile(path, memory_map=False)
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} is no Parquet file, or is damaged: {short(str(error))}.") from error


def _numbers(path: Path, name: str, column: Any) -> Any:
    """A column as numbers [R], times in seconds; None for one of texts. DataError for one that is nested."""
    import pyarrow
    import pyarrow.types as types

    kind = column.type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return None
    if types.is_duration(kind):
        return column.cast(pyarrow.int64()).to_numpy() / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
    if types.is_boolean(kind) or types.is_decimal(kind) or types.is_null(kind):
        return np.array([np.nan if cell is None else float(cell) for cell in column.to_pylist()])
    if types.is_integer(kind) or types.is_floating(kind):
        return np.asarray(column.cast(pyarrow.float64(), safe=False).to_numpy(), dtype=np.float64)
    raise DataError(f"{path}: the column '{name}' holds {kind}; numbers, texts and durations are read.")


def _texts(values: Any, column: Any) -> list[str]:
    """Numbers as the texts that ids and times are: whole ones without a point."""
    import pyarrow.types as types

    if types.is_integer(column.type):
        return [_text(cell) for cell in column.to_pylist()]
    return ["" if np.isnan(value) else repr(float(value)) for value in values]


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()
