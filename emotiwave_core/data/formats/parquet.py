"""Parquet, by pyarrow of the extra `tables`: the same columns as in a CSV."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from emotiwave_core.data.formats.delimited import MOST_COLUMNS, TableColumns
from emotiwave_core.data.formats.table import TableFile, is_always_text
from emotiwave_core.errors import DataError, EmotiwaveError, SettingsError, short
from emotiwave_core.io.untrusted import starts_with

MOST_CELLS = 1 << 28  # which are 2 GiB of numbers
MOST_BYTES = 4 << 30  # unpacked
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
            with _damage_is_told(path):
                return [column_name(name) for name in _open(path).schema_arrow.names]
        except SettingsError as error:  # without pyarrow nothing is known of it
            raise DataError(str(error)) from error

    @classmethod
    def _load(cls, path: Path) -> TableColumns:
        with _damage_is_told(path):
            table = _read(path)
            numbers, texts = {}, {}
            for name, column in zip(map(column_name, table.column_names), table.columns, strict=True):
                values = _numbers(path, name, column)
                if values is None:
                    texts[name] = [_text(cell) for cell in column.to_pylist()]
                elif is_always_text(name):
                    texts[name] = _texts(values, column)
                else:
                    numbers[name] = values
            return TableColumns(tuple(map(column_name, table.column_names)), numbers, texts, table.num_rows)


def _read(path: Path) -> Any:
    """The table of a file. DataError where it is empty, or so large that it could be a bomb."""
    file = _open(path)
    rows, width = file.metadata.num_rows, file.metadata.num_columns
    size = sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))
    if width > MOST_COLUMNS or rows * width > MOST_CELLS or size > MOST_BYTES:
        raise DataError(
            f"{path} has {rows} rows of {width} columns, {size} bytes, and is not read: at most {MOST_COLUMNS} "
            f"columns, {MOST_CELLS} cells and {MOST_BYTES >> 20} MiB are; split it."
        )
    table = file.read(use_threads=False)
    if not table.num_rows:
        raise DataError(f"{path} has no row.")
    if len(set(table.column_names)) < len(table.column_names):
        raise DataError(f"{path} names a column twice; rename one.")
    return table


@contextlib.contextmanager
def _damage_is_told(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises on a damaged file into a DataError."""
    try:
        yield
    except EmotiwaveError:
        raise
    except Exception as error:  # of any kind, as the bytes come
        raise DataError(f"{path} is no Parquet file, or is damaged: {short(str(error))}.") from error


def column_name(name: str) -> str:
    """The name of a column; that of an index without a name, as pandas writes it, is empty."""
    return "" if name.startswith("__index_level_") else name


def _open(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SettingsError(f"{path} is Parquet, which needs pyarrow: pip install 'emotiwave[tables]'.") from error
    return pyarrow.parquet.ParquetFile(path, memory_map=False)


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
