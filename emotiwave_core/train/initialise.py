"""The weights that a training starts from: what its parts read, once, before the first step (`LearnedPart.initialise`).

A run that is resumed, evaluated or exported has weights of its own, and never asks for those that it began with.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from emotiwave_core.errors import DataError, EmotiwaveError, PluginError, is_out_of_memory
from emotiwave_core.interfaces import LearnedPart
from emotiwave_core.io.atomic import sha256_of
from emotiwave_core.layers.parameters import changed_form, form_of, learned_parts, numbers_of, same_numbers
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.parts.guard import forbid_exit, preserve_global_state
from emotiwave_core.parts.resolved import ResolvedPart, ResolvedParts
from emotiwave_core.runs.model_file import InitialFile


def initialise(model: FusionModel, parts: ResolvedParts) -> list[InitialFile]:
    """Initialise every encoder, the fusion and the parts inside them; the files that they have read.

    DataError where a file is not there; PluginError where a part fails, or is not what it was but for its numbers.
    """
    outer: list[tuple[nn.Module, ResolvedPart, str | None]] = [
        (encoder, parts.encoder_of(stream), stream) for stream, encoder in model.encoders.items()
    ]
    read = [
        (path, resolved, stream)
        for part, resolved, stream in [*outer, (model.fusion, parts.fusion, None)]
        for inner in reversed(list(learned_parts(part)))  # those inside first: the outer one has the last word
        for path in _initialise(inner, resolved)
    ]
    return [
        InitialFile(resolved.kind, resolved.name, stream, str(path), _sha256(path, resolved.who))
        for path, resolved, stream in dict.fromkeys(read)  # members of an ensemble read the same
    ]


def _initialise(part: LearnedPart, resolved: ResolvedPart) -> Iterator[Path]:
    """Initialise one part; the files that it has read. Errors name the part of the recipe that it is, or is inside."""
    who, before = resolved.who, form_of(part)
    reads = type(part).initialise is not LearnedPart.initialise  # else a copy of its numbers is spared
    numbers = numbers_of(part) if reads else {}
    failed = f"{who} fails when it is initialised"
    with forbid_exit(failed), preserve_global_state(who, "when it is initialised", drawing="weights"):
        try:
            with torch.no_grad():
                read: Any = part.initialise()
        except EmotiwaveError as error:
            raise type(error)(f"{who} is not initialised: {error}") from error
        except OSError as error:
            absent = isinstance(error, FileNotFoundError) and error.filename is not None
            what = f"there is no {error.filename}" if absent else str(error).rstrip(".")
            raise DataError(f"{who} is not initialised: {what}.") from error
        except Exception as error:
            if is_out_of_memory(error):
                raise
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise PluginError(f"{failed} with {resolved.settings.options}: {what}") from error
    if changed := changed_form(before, form_of(part)):
        raise PluginError(f"{who} {changed} when it is initialised, and a run is rebuilt without that.")
    if not all(bool(parameter.isfinite().all()) for parameter in part.parameters()):
        raise PluginError(f"{who} is initialised with weights that are no finite numbers.")
    if not (read is None or (isinstance(read, list | tuple) and all(isinstance(one, str | Path) for one in read))):
        raise PluginError(f"{who} returns {read!r:.80} where the paths of the files it has read are due (initialise).")
    if read and same_numbers(numbers, numbers_of(part)):
        raise PluginError(
            f"{who} says that it has read {read[0]}, and all its numbers are as they were: are they under other names "
            "there (strict=False)?"
        )
    return (Path(path) for path in cast(list[str | Path], read or []))


def _sha256(path: Path, who: str) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise PluginError(f"{who} says that it was initialised from {path}, which is not there.") from error
