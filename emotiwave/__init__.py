"""Emotiwave in Python: `import emotiwave as ew`. docs/python.md shows all of it."""

from typing import TYPE_CHECKING, Any

from emotiwave_core.api import (
    Extraction,
    PartInfo,
    Run,
    check,
    compare,
    compare_runs,
    dataset,
    extract,
    load_dataset,
    load_sample,
    open_run,
    parts,
    recipes,
    resume,
    train,
    tune,
    write_csd,
)
from emotiwave_core.errors import (
    DataError,
    DivergedError,
    EmotiwaveError,
    PluginError,
    ResourceError,
    SettingsError,
)
from emotiwave_core.serve import serve
from emotiwave_core.version import __version__

if TYPE_CHECKING:
    from emotiwave_core.serve.stream import LiveStream as Stream

__all__ = [
    "DataError",
    "DivergedError",
    "EmotiwaveError",
    "Extraction",
    "PartInfo",
    "PluginError",
    "ResourceError",
    "Run",
    "SettingsError",
    "Stream",
    "__version__",
    "check",
    "compare",
    "compare_runs",
    "dataset",
    "extract",
    "load_dataset",
    "load_sample",
    "open_run",
    "parts",
    "recipes",
    "resume",
    "serve",
    "train",
    "tune",
    "write_csd",
]


def __getattr__(name: str) -> Any:
    """`Stream`, whose import takes seconds, when it is first asked for."""
    if name == "Stream":
        from emotiwave_core.serve.stream import LiveStream

        return LiveStream
    raise AttributeError(f"module 'emotiwave' has no attribute '{name}'")
