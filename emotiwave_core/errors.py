"""What can go wrong, by exit code: each error is one sentence that names the place and the way out."""

import difflib
from collections.abc import Iterable


class EmotiwaveError(Exception):
    """Base of all errors that a user can mend; `exit_code` is what the command line leaves with."""

    exit_code = 1


class SettingsError(EmotiwaveError):
    """A flag, a recipe value or a name that is not valid."""

    exit_code = 2


class DataError(EmotiwaveError):
    """A data file that is missing, damaged or does not hold what it should."""

    exit_code = 3


class PluginError(EmotiwaveError):
    """A plugin that is not installed, does not load, or breaks its interface."""

    exit_code = 4


class ResourceError(EmotiwaveError):
    """A full disk, too little memory, a device that is not there."""

    exit_code = 5


class DivergedError(EmotiwaveError):
    """Training whose loss is no longer finite."""

    exit_code = 6


class PassedOver(UserWarning):
    """A plugin that the user named does not load, and everything else goes on without it."""


def choices(wrong: str, right: Iterable[str]) -> str:
    """The tail of an error about a wrong name: the nearest one, if any is near, and all of them."""
    names = sorted(right)
    near = difflib.get_close_matches(wrong, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{hint} Choose from: {', '.join(names) or 'nothing (none is there)'}."
