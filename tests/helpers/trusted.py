"""The user's word for the local files of a test."""

from pathlib import Path

from emotiwave_core.io.untrusted import is_file
from emotiwave_core.parts.registry import files_named_in
from emotiwave_core.parts.trust import trust


def trust_here(folder: Path = Path()) -> None:
    """As `emotiwave plugins trust`, for the files that are there already."""
    trust(file for file in files_named_in(folder) if is_file(file))
