"""Arguments of the Python face as the rooms take them, and errors as the face gives them."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotiwave_core.errors import SettingsError, choices, is_out_of_memory, out_of_memory

if TYPE_CHECKING:
    import torch

    from emotiwave_core.data.dataset import Dataset
    from emotiwave_core.parts.registry import Registry

FilePath = str | os.PathLike[str]


def open_registry(registry: "Registry | FilePath | None") -> "Registry":
    """The registry that was read, or that of a file; None: the usual ones."""
    from emotiwave_core.parts.registry import Registry, load_registry

    if isinstance(registry, Registry):
        return registry
    return load_registry(None if registry is None else Path(registry))


def open_device(device: "str | torch.device") -> "torch.device":
    """The device of a name. ResourceError where it is not there."""
    from emotiwave_core.compute.device import find_device

    return find_device(str(device))


def dataset_folder(dataset: "Dataset | FilePath") -> Path:
    """The folder of a data set that was opened, or of a path."""
    from emotiwave_core.data.dataset import Dataset

    return dataset.folder if isinstance(dataset, Dataset) else Path(dataset)


def optional_folder(dataset: "Dataset | FilePath | None") -> Path | None:
    """The folder of a data set, where one is given."""
    return None if dataset is None else dataset_folder(dataset)


def refuse_unread(**options: Any) -> None:
    """SettingsError for an option that is about recordings, where there is none."""
    for name, value in options.items():
        if value is not None:
            raise SettingsError(f"{name} is about recordings, and there is none among the inputs: leave it out.")


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """SettingsError for a word that is none of those allowed."""
    if value not in allowed:
        raise SettingsError(f"There is no {name} '{value}'.{choices(str(value), allowed)}")


def check_fold(fold: str) -> None:
    """SettingsError for a fold that a data set does not have."""
    from emotiwave_core.data.folds import FOLDS

    check_choice("fold", fold, [*FOLDS, "all"])


def part_table(part: str | Mapping[str, Any]) -> dict[str, Any]:
    """The table of a part that is written `NAME:option=value`, or a copy of a table."""
    from emotiwave_core.config.flags import parse_part

    return parse_part(part) if isinstance(part, str) else dict(part)


def part_tables(parts: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]") -> list[dict[str, Any]]:
    """The tables of one part, or of several."""
    return [part_table(part) for part in ([parts] if isinstance(parts, str | Mapping) else parts)]


@contextlib.contextmanager
def errors_of_ours() -> Iterator[None]:
    """Turn an error of memory, torch's or Python's, into a ResourceError that says what to do."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(error) from error
        raise
