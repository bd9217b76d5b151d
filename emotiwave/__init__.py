"""Emotiwave in Python: `import emotiwave as ew`. docs/python.md shows all of it."""

from emotiwave_core.api import (
    Extraction,
    PartInfo,
    Run,
    check,
    dataset,
    extract,
    load_dataset,
    load_sample,
    open_run,
    parts,
    recipes,
    resume,
    train,
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
from emotiwave_core.version import __version__

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
    "__version__",
    "check",
    "dataset",
    "extract",
    "load_dataset",
    "load_sample",
    "open_run",
    "parts",
    "recipes",
    "resume",
    "train",
    "write_csd",
]
