"""The manifest: what a protocol has drawn, as JSON that any program can read. Nothing in it is trusted."""

import json
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.config.options import structure
from emotiwave_core.errors import DataError, SettingsError, short
from emotiwave_core.evaluate.corruptions import PROTOCOLS
from emotiwave_core.io.untrusted import parse_json, read_bytes

FORMAT = 1
MOST_BYTES = 1 << 28
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
NEVER = "-"
MOST_SEED = 2**64 - 1
RECIPE = (
    "raw = numpy.random.Philox(key=int.from_bytes(hashlib.sha256(f'noise\\n{seed}\\n{modality}\\n{id}'.encode())"
    ".digest()[:16], 'little')).random_raw(2 * steps * features).reshape(2, steps, features); "
    "u, v = (raw >> 11) * 2.0**-53; z = numpy.sqrt(-2 * numpy.log(1 - u)) * numpy.cos(2 * numpy.pi * v); "
    "x + level * deviation[modality] * z"
)


@attrs.frozen(kw_only=True)
class Manifest:
    """What is damaged, for N samples. A character `since` is the first level (0-9, a-z) with the damage; `-` is never.

    `since` has for each sample one character a step (frames, blocks, shift, frozen) or one in all (random, swap).
    """

    format: int
    protocol: str
    seed: int
    levels: list[float]
    dataset: str
    fold: str
    modalities: list[str]
    samples: list[str]  # [N] ids
    steps: dict[str, list[int]]  # {modality: [N]}
    since: dict[str, list[str]] = attrs.Factory(dict)  # {modality: [N]}
    partners: dict[str, list[str | None]] = attrs.Factory(dict)  # swap: {modality: [N] ids}
    deviation: dict[str, list[float]] = attrs.Factory(dict)  # noise: {modality: [F]}
    recipe: str = ""  # noise: how its normals are drawn

    def to_bytes(self) -> bytes:
        """As JSON, without what the protocol has no use for."""
        table = attrs.asdict(self, filter=lambda field, value: bool(value) or field.default is attrs.NOTHING)
        return (json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_manifest(path: Path, protocol: str) -> tuple[Manifest, bytes]:
    """A manifest of this protocol and the bytes of its file. DataError where it is not one."""
    try:
        data = read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"Cannot read the manifest {path}: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} is no manifest: {error}.") from error
    return parse(data, protocol, str(path)), data


def parse(data: bytes, protocol: str, source: str) -> Manifest:
    """The manifest in some bytes. DataError with one sentence where it is damaged or of another protocol."""
    try:
        table: Any = parse_json(data)
        if isinstance(table, dict) and table.get("format") != FORMAT:
            raise ValueError(f"its format is {short(table.get('format'))}, and this Emotiwave reads {FORMAT}")
        if isinstance(table, dict) and isinstance(table.get("protocol"), str) and table["protocol"] != protocol:
            raise ValueError(f"it is of the protocol {short(table['protocol'])}, not {protocol}")
        manifest = structure(table, Manifest, "it")
        _check(manifest)
    except (ValueError, SettingsError) as error:
        reason = " ".join(str(error).removeprefix("it: ").split())[:200].rstrip(".")  # values and keys are a stranger's
        raise DataError(f"The manifest {source} cannot be used: {reason}.") from error
    return manifest


def _check(manifest: Manifest) -> None:
    """ValueError for the first thing that does not fit."""
    kind, count = PROTOCOLS[manifest.protocol], len(manifest.samples)
    levels = manifest.levels
    right = 2 <= len(levels) <= len(DIGITS) and levels[0] == 0.0
    _must(right, f"its levels are not 0 and up to {len(DIGITS) - 1} more")
    _must(levels == sorted(set(levels)), "its levels do not rise")
    most = 1.0 if kind.by_share else levels[-1]
    _must(levels[-1] <= most, f"its level {levels[-1]:g} is a share above 1")
    _must(0 <= manifest.seed <= MOST_SEED, "its seed is below 0 or above 2^64 - 1")
    for what, names in (("modalities", manifest.modalities), ("samples", manifest.samples)):
        _must(0 < len(names) == len(set(names)), f"its {what} are not there, or not all different")
    _must(manifest.recipe == (RECIPE if manifest.protocol == "noise" else ""), "its recipe is not known here")
    tables: dict[str, tuple[dict[str, Any], bool]] = {
        "steps": (manifest.steps, True),
        "since": (manifest.since, manifest.protocol != "noise"),
        "partners": (manifest.partners, manifest.protocol == "swap"),
        "deviation": (manifest.deviation, manifest.protocol == "noise"),
    }
    for name, (table, used) in tables.items():
        _must(set(table) == set(manifest.modalities if used else ()), f"its {name} are not of its modalities")
        for modality, values in table.items():
            fits = name == "deviation" or len(values) == count
            _must(fits, f"'{name}' of {short(modality)} has {len(values)} entries for {count} samples")
    for values in manifest.deviation.values():
        _must(all(0.0 <= value <= 1e30 for value in values), "a deviation is below 0 or beyond all measure")
    for modality, steps in manifest.steps.items():
        _must(min(steps) >= 0, f"a number of steps of {short(modality)} is below 0")
    allowed = set(DIGITS[1 : len(levels)] + NEVER)
    for modality, texts in manifest.since.items():
        for sample, text, length in zip(manifest.samples, texts, manifest.steps[modality], strict=True):
            due = length if kind.by_step else 1
            fits = len(text) == due and allowed.issuperset(text)
            many = f"{due} characters, each" if due > 1 else "one character,"
            what = f"must be {many} the number of a level from 1 or '{NEVER}'" if due else "must be empty"
            _must(fits, f"'since' of {short(modality)} of {short(sample)} {what}")
    _CHECKS.get(manifest.protocol, lambda _: None)(manifest)


def _check_random(manifest: Manifest) -> None:
    for place, sample in enumerate(manifest.samples):
        has = [m for m in manifest.modalities if manifest.steps[m][place]]
        left = not has or any(manifest.since[m][place] == NEVER for m in has)
        _must(left, f"{short(sample)} loses every modality")


def _check_frozen(manifest: Manifest) -> None:
    for texts in manifest.since.values():
        _must(not any(text[:1].strip(NEVER) for text in texts), "a first step is frozen, and there is none before it")


def _check_swap(manifest: Manifest) -> None:
    place_of = {sample: place for place, sample in enumerate(manifest.samples)}
    for modality, partners in manifest.partners.items():
        steps = manifest.steps[modality]
        for sample, partner, since in zip(manifest.samples, partners, manifest.since[modality], strict=True):
            if partner is None:
                _must(since == NEVER, f"{short(sample)} has no partner in {short(modality)}")
            else:
                fits = partner != sample and partner in place_of and steps[place_of[partner]] > 0
                _must(fits, f"{short(partner)} cannot lend {short(modality)} to {short(sample)}")


_CHECKS = {"random": _check_random, "frozen": _check_frozen, "swap": _check_swap}


def _must(right: bool, otherwise: str) -> None:
    if not right:
        raise ValueError(otherwise)
