"""A run with its export, for the tests of it."""

from pathlib import Path
from typing import NamedTuple

import emotiwave as ew
from emotiwave_core.runs.export_manifest import ExportManifest


class ExportedRun(NamedTuple):
    """A run, the data it was trained on, and what was exported."""

    run: ew.Run
    data: Path
    folder: Path
    manifest: ExportManifest
