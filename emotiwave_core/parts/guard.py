"""Guards around a plugin's code: it changes nothing that all parts share, and does not end the program."""

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from emotiwave_core.errors import PassedOver, PluginError
from emotiwave_core.parts.global_state import Drawing, common_things

SLOW = 10.0  # seconds of loading, after which it is said what is waited for
PLUGINS: set[str] = set()  # the modules, or the packages, that were loaded as plugins


class PutBack(PassedOver):
    """A plugin has changed what all parts share, and the change goes for nothing."""


def asked_to_end(error: BaseException) -> bool:
    """Whether somebody outside wants the program to end: Ctrl-C, SIGTERM, whoever has called us.

    SystemExit, and what a plugin derives from BaseException itself, is not that: no part decides about a run.
    """
    if isinstance(error, Exception | SystemExit | GeneratorExit):
        return False
    return type(error).__module__.partition(".")[0] not in PLUGINS


def in_words(error: BaseException) -> str:
    """What an error is and says, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextlib.contextmanager
def forbid_exit(what: str) -> Iterator[None]:
    """Turn what would end the program, such as `sys.exit()`, into a PluginError that begins with `what`."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if asked_to_end(error):
            raise
        raise PluginError(f"{what}: {in_words(error)}; a part must not end the program.") from error


@contextlib.contextmanager
def preserve_global_state(who: str, when: str, drawing: Drawing = "nothing") -> Iterator[None]:
    """Put back what changes within of all that parts share (`common_things`); a warning says who it was."""
    things = common_things(drawing)
    before = [one.read() for one in things]
    try:
        yield
    finally:
        changed = []
        for one, value in zip(things, before, strict=True):
            if value is not None and one.changed(value, one.read()):  # None: there was none yet
                one.write(value)
                changed.append(one.name)
        if changed:
            what = " and ".join([", ".join(changed[:-1]), changed[-1]] if changed[1:] else changed)
            warnings.warn(f"{who} changes {what} {when}. All parts share it: it is put back.", PutBack, stacklevel=3)


@contextlib.contextmanager
def loading(who: str, module: str) -> Iterator[None]:
    """Around the import of a plugin: preserve_global_state, and after some seconds stderr says what is waited for."""
    PLUGINS.add(module.partition(".")[0])
    stderr = sys.stderr
    sentence = f"Still loading {who} after {SLOW:.0f} s; if it hangs, Ctrl-C stops the program."
    timer = threading.Timer(SLOW, lambda: print(sentence, file=stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        with preserve_global_state(_capital(who), "when it is loaded"):
            yield
    finally:
        timer.cancel()


class Snapshot(NamedTuple):
    """What changes the numbers of others, or where they write: little enough to look at in every step."""

    folder: str
    gradients: bool
    dtype: Any
    seed: int


_UNSEEN = Snapshot("", True, None, 0)  # while a model is compiled nothing is run
_NAMES = (
    "the working folder",
    "whether torch keeps gradients",
    "torch's default type",
    "the seed of torch's generator",
)


def snapshot() -> Snapshot:
    """How they are now. It takes a microsecond."""
    import torch

    if torch.compiler.is_compiling():
        return _UNSEEN
    folder = os.getcwd()  # noqa: PTH109 (a Path takes four times as long)
    return Snapshot(folder, torch.is_grad_enabled(), torch.get_default_dtype(), torch.initial_seed())


def check_snapshot(before: Snapshot, who: str) -> None:
    """PluginError where a part has changed one of these in its forward. They are put back, but for the seed."""
    import torch

    now = snapshot()
    if now == before:
        return
    os.chdir(before.folder)
    torch.set_grad_enabled(before.gradients)
    torch.set_default_dtype(before.dtype)
    changed = " and ".join(what for what, old, new in zip(_NAMES, before, now, strict=True) if old != new)
    raise PluginError(f"{who} changes {changed} in its forward. All parts share it: leave it as it is.")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
