"""Errors by exit code: each is one sentence that names the place and the way out."""

import difflib
import re
import reprlib
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import TextIO

LONGEST = 2000  # characters of a sentence, in which the content of a stranger's file may stand
MOST_CHOICES = 50
LESS_MEMORY = (
    "Lower training.batch_size, data.max_steps or the width of the encoders; or let batches be computed in pieces by "
    "--auto-batch (computing.auto_batch)."
)

_BREAK = re.compile(r"[ \t]*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029][\s]*")
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 60
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


class EmotiwaveError(Exception):
    """Base of all errors that a user can mend; `exit_code` is what the command line leaves with."""

    exit_code = 1

    def __str__(self) -> str:
        text = _BREAK.sub(" ", super().__str__())  # so that no name in a file can say more than one line
        third = LONGEST // 3
        return text if len(text) <= LONGEST else f"{text[: 2 * third]} … {text[-third:]}"  # the way out is at the end


class SettingsError(EmotiwaveError):
    """A flag, a recipe value or a name that is not valid."""

    exit_code = 2


class DataError(EmotiwaveError):
    """A data file that is missing, damaged or does not hold what it should."""

    exit_code = 3


class PluginError(EmotiwaveError):
    """A plugin that is not installed, does not load, or breaks its interface."""

    exit_code = 4


class ModelNotHere(SettingsError):  # noqa: N818 -- it is what is the matter
    """A model with weights that is not on this machine."""


class PackageNotHere(PluginError):  # noqa: N818
    """A package of an extra that is not installed."""


class NotFinite(PluginError):  # noqa: N818
    """A model that says NaN: of features that are too large for it, or for a fault of a part."""


class ResourceError(EmotiwaveError):
    """A full disk, too little memory, a device that is not there."""

    exit_code = 5


class DivergedError(EmotiwaveError):
    """Training whose loss is no longer finite."""

    exit_code = 6


class Notice(UserWarning):
    """A sentence that the user should know, while the work goes on."""


class PassedOver(Notice):
    """A plugin that the user named does not load, and everything else goes on without it."""


def is_out_of_memory(error: BaseException) -> bool:
    """True where memory has run out: Python's, a GPU's, or that of torch on a CPU, which has no class for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    message = str(error) if isinstance(error, RuntimeError) else ""
    return "DefaultCPUAllocator" in message or "ALLOC_FAILED" in message


def out_of_memory(error: BaseException) -> ResourceError:
    """The error of ours for an `is_out_of_memory` one, with the ways out."""
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return ResourceError(f"Out of memory ({first_line}). {LESS_MEMORY}")


def choices(wrong: str, right: Iterable[str]) -> str:
    """The tail of an error about a wrong name: the nearest one, if any is near, and all of them."""
    names = sorted(right)
    near = difflib.get_close_matches(wrong[:200], names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    more = ", …" if len(names) > MOST_CHOICES else ""
    return f"{hint} Choose from: {', '.join(names[:MOST_CHOICES]) or 'nothing (none is there)'}{more}."


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, of very many the first ones."""
    more = f" and {len(names) - MOST_CHOICES} more" if len(names) > MOST_CHOICES else ""
    return ", ".join(names[:MOST_CHOICES]) + more


def counted(number: int, noun: str) -> str:
    """A number and its noun, such as `1 seed` and `2 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short(value: object) -> str:
    """A value of a file or a flag in quotes, for an error: as long as a line or two, however long or deep it is."""
    return _SHORT.repr(value)


def printable(text: str) -> str:
    """Text of data files without the control characters that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of ours as one line on stderr, and those of libraries as Python does: a `warnings.showwarning`."""
    is_ours = issubclass(category, Notice)
    text = f"Warning: {message}\n" if is_ours else warnings.formatwarning(message, category, filename, lineno)
    if sys.stderr is not None:  # a program may be started without one
        sys.stderr.write(printable(text))
