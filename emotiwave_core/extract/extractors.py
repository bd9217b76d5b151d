"""Extractors as a user chooses them, opened, and asked about one recording."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from emotiwave_core.config.flags import parse_part
from emotiwave_core.config.options import signature_options
from emotiwave_core.config.recipe import Part, as_part
from emotiwave_core.errors import EmotiwaveError, PluginError, SettingsError, choices, short
from emotiwave_core.interfaces import Extractor, Missing, Recording, Stream
from emotiwave_core.parts.kinds import EXTRACTOR
from emotiwave_core.parts.registry import Registry
from emotiwave_core.parts.resolved import ResolvedPart

NOT_OF_NUMBERS = {"revision", "sha256"}  # options that say which weights are meant: their hash is the identity
LACKS = {"sound": "it has no sound track", "picture": "it has no pictures", "words": "there is no transcript"}


@attrs.frozen(eq=False)
class OpenExtractor:
    """An extractor that is ready, for one modality."""

    modality: str
    extractor: Extractor
    identity: dict[str, Any]  # all that decides on its numbers
    who: str  # in sentences

    def extract(self, recording: Recording) -> Stream | Missing:
        """The features of a recording, or why there are none. PluginError where the extractor fails or gives nonsense.

        The sound of a recording without a sound track is not asked for, and so on.
        """
        have = {
            "sound": recording.facts["sound"] is not None,
            "picture": recording.facts["picture"] is not None,
            "words": recording.words is not None,
        }
        for need in sorted(self.extractor.needs):
            if not have[need]:
                return Missing(LACKS[need])
        try:
            with one_thread():
                answer = self.extractor.extract(recording)
        except (EmotiwaveError, MemoryError):
            raise
        except Exception as error:
            raise PluginError(f"{self.who} fails: {type(error).__name__}: {error}") from error
        if problem := self._problem(answer):
            raise PluginError(f"{self.who} breaks its interface: {problem} (`emotiwave plugins check`).")
        return answer

    def _problem(self, answer: object) -> str | None:
        """The fault of an answer; None where it is right."""
        if isinstance(answer, Missing):
            return None
        if not isinstance(answer, Stream):
            return f"it returns a {type(answer).__name__}"
        features, intervals = answer.features, answer.intervals
        if features.ndim != 2 or features.shape[1] != self.extractor.width or not len(features):
            return f"its features are {list(features.shape)}, and its width is {self.extractor.width}"
        if intervals.shape != (len(features), 2) or not np.isfinite(intervals).all():
            return f"its intervals are {list(intervals.shape)} for {len(features)} steps, or are no numbers"
        if not all(np.isfinite(features[begin : begin + 4096]).all() for begin in range(0, len(features), 4096)):
            return "its features hold NaN or infinities"
        return None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: with another number it rounds sums in another way."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose(wanted: Sequence[str | Mapping[str, Any]], registry: Registry, face: str | None) -> dict[str, ResolvedPart]:
    """The extractors that are asked for, by modality; of a modality the last one counts.

    wanted: names of sets (`light`), `NAME[:OPTIONS]`, or `MODALITY=NAME[:OPTIONS]` for another modality than the
    extractor's own; or tables {modality: part}. face: the option of that name of all that have it. SettingsError for
    a name that is not known.
    """
    chosen: dict[str, ResolvedPart] = {}
    for one in wanted:
        chosen |= _parts(one, registry)
    if face is not None:
        having = {m: part for m, part in chosen.items() if "face" in part.values}
        if not having:
            raise SettingsError("--face chooses a person for an extractor of faces, and there is none among --with.")
        for modality, part in having.items():
            options = {**part.settings.options, "face": face}
            chosen[modality] = registry.resolve_part(EXTRACTOR, Part(part.name, options))
    if not chosen:
        raise SettingsError(
            f"No extractor is named: give a set ({', '.join(registry.extracts)}) or NAME[:OPTIONS], such as "
            "--with light."
        )
    return chosen


def _parts(wanted: str | Mapping[str, Any], registry: Registry) -> dict[str, ResolvedPart]:
    if isinstance(wanted, Mapping):
        parts = {str(modality): as_part(part) for modality, part in wanted.items()}
        return {modality: registry.resolve_part(EXTRACTOR, part) for modality, part in parts.items()}
    if wanted in registry.extracts:
        return _parts(registry.extracts[wanted], registry)
    modality, equals, part = wanted.partition("=")
    is_named = bool(equals) and ":" not in modality
    table = parse_part(part if is_named else wanted)
    names = registry.names_of(EXTRACTOR)
    if table["name"] not in names:
        raise SettingsError(
            f"There is no extractor or set '{table['name']}'.{choices(table['name'], [*names, *registry.extracts])}"
        )
    resolved = registry.resolve_part(EXTRACTOR, as_part(table))
    if is_named and ("+" in modality or not modality.strip()):
        raise SettingsError(f"--with {wanted}: a modality has a name without '+'.")
    return {modality.strip() if is_named else resolved.part.modality: resolved}  # type: ignore[attr-defined]


def open_extractor(modality: str, part: ResolvedPart, download: bool = False) -> OpenExtractor:
    """Make and open an extractor. Errors as `Extractor.open`, whose weights are loaded."""
    extractor: Extractor = part.make()
    try:
        extractor.open(download)
    except EmotiwaveError as error:
        raise type(error)(f"{part.who}: {error}") from error
    except Exception as error:
        raise PluginError(f"{part.who} cannot be opened: {type(error).__name__}: {error}") from error
    return OpenExtractor(modality, extractor, _identity(part, extractor), part.who)


def _identity(part: ResolvedPart, extractor: Extractor) -> dict[str, Any]:
    """All that decides on the numbers: who computes them, from which version on, with which options and weights.

    A file or folder that an option names is told by its last name: where it lies changes no number.
    """
    options = {name: _without_place(value) for name, value in part.values.items() if name not in NOT_OF_NUMBERS}
    origin = Path(part.origin).name  # of a distribution its name
    own = {"name": part.name, "distribution": origin, "version": part.version, "options": options}
    return {**own, **extractor.identity()}


def _without_place(value: Any) -> Any:
    if isinstance(value, str) and ("/" in value or "\\" in value) and Path(value).expanduser().exists():
        return Path(value).expanduser().resolve().name
    return value


def part_of_identity(identity: Mapping[str, Any], registry: Registry) -> ResolvedPart:
    """The extractor that an identity names, to be opened again. SettingsError where it names none that is known."""
    name, options = identity.get("name"), identity.get("options")
    if not isinstance(name, str) or not isinstance(options, dict):
        raise SettingsError(f"The features were made by {short(identity)}, which names no extractor of this program.")
    cls, origin, version = registry.find(EXTRACTOR, name)
    known = signature_options(cls, 0)
    return registry.with_options(
        EXTRACTOR, Part(name, {key: value for key, value in options.items() if key in known}), cls, origin, version
    )


def difference(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> str | None:
    """The first key in which two identities differ, with both values; None where they are equal."""
    for key in [*one, *(key for key in other if key not in one)]:
        first, second = one.get(key), other.get(key)
        if first == second:
            continue
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            return difference(first, second, f"{path}{key}.")
        return f"{path}{key} is {short(second)}, not {short(first)}"
    return None
