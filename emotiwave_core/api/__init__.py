"""Functions of the Python face, `import emotiwave as ew`; the command line calls the same ones.

Paths may be texts. Errors are those of `emotiwave_core.errors`, with the sentence that the command line prints. Nothing
heavy is imported before it is needed. Progress goes to the `monitor`; without one, a notebook and a terminal get a bar,
and a pipe nothing.
"""

from emotiwave_core.api.arguments import FilePath
from emotiwave_core.api.comparisons import compare, compare_runs, tune
from emotiwave_core.api.data_sets import dataset, load_dataset, load_sample, write_csd
from emotiwave_core.api.known_parts import PartInfo, check, parts, recipes
from emotiwave_core.api.recordings import Extraction, extract
from emotiwave_core.api.run import Run, Written, open_run, recording_reader
from emotiwave_core.api.training import resume, train

__all__ = [
    "Extraction",
    "FilePath",
    "PartInfo",
    "Run",
    "Written",
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
    "recording_reader",
    "resume",
    "train",
    "tune",
    "write_csd",
]
