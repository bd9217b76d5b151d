"""A class held to the contract of its kind in this process, for an author at work in Python."""

import unittest
from collections.abc import Mapping
from typing import Any

import attrs

from emotiwave_core.config.recipe import Part
from emotiwave_core.errors import EmotiwaveError, PluginError, SettingsError
from emotiwave_core.parts.check.laws_in_child import contract_of
from emotiwave_core.parts.kinds import base_names, kind_of
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.testing import BrokenLaw, Law, Remark

WORDS = {True: "holds", False: "BROKEN", None: "not tried"}


@attrs.frozen
class CheckedLaw:
    """One law of a contract, and whether a part holds it."""

    name: str
    sentence: str  # what every part of the kind promises
    holds: bool | None  # None: it cannot be tried here
    message: str = ""  # what came and what usually causes it, or why it was not tried
    warning: bool = False  # what the message tells may be meant so

    def __repr__(self) -> str:
        lines = [f"{'WARNING' if self.warning else WORDS[self.holds]:10} {self.name}", f"{'':11}{self.sentence}"]
        return "\n".join([*lines, f"{'':9}> {self.message}"] if self.message else lines)


@attrs.frozen
class CheckedPart:
    """A part and every law of its contract. `print` tells all of them."""

    kind: str
    name: str  # of the class
    laws: tuple[CheckedLaw, ...]

    @property
    def holds(self) -> bool:
        """True where no law is broken."""
        return not self.broken

    @property
    def broken(self) -> tuple[CheckedLaw, ...]:
        """The laws that are broken."""
        return tuple(law for law in self.laws if law.holds is False)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {**attrs.asdict(self), "holds": self.holds}

    def __repr__(self) -> str:
        verdict = f"{len(self.broken)} of {len(self.laws)} laws broken" if self.broken else "no law is broken"
        shown = "\n".join(repr(law) for law in self.laws)
        return f"{shown}\n\n{self.kind} {self.name}: {verdict}"


def check_class(part: type, options: Mapping[str, Any]) -> CheckedPart:
    """Try every law of the contract of a class's kind on it, constructed with these options.

    SettingsError for a class that is no part, or options that its constructor does not take; PluginError where the
    constructor fails.
    """
    kind = kind_of(part)
    if kind is None:
        raise SettingsError(f"{part!r} is not the class of a part: derive it from {base_names()}.")
    resolved = load_registry().with_options(kind.name, Part(part.__name__, dict(options)), part, part.__module__)
    contract = contract_of(kind.name, resolved.construct, part)
    try:
        tried = contract()  # it keeps the files that its arguments name
        resolved.construct(*tried.first_arguments())
    except EmotiwaveError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise PluginError(f"{resolved.who} fails at construction with {resolved.settings.options}: {what}") from error
    return CheckedPart(kind.name, part.__name__, tuple(_try(law) for law in contract.laws()))


def _try(law: Law) -> CheckedLaw:
    try:
        law.check()
    except BrokenLaw as broken:
        return CheckedLaw(law.name, law.sentence, False, str(broken))
    except unittest.SkipTest as reason:
        return CheckedLaw(law.name, law.sentence, None, str(reason), isinstance(reason, Remark))
    return CheckedLaw(law.name, law.sentence, True)
