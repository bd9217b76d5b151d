"""Manifests: drawn from a seed, written as JSON, read again and checked. Nothing in a file is trusted."""

from pathlib import Path
from typing import Any

import numpy as np

from emotiwave_core.config.options import structure
from emotiwave_core.errors import DataError, SettingsError, short
from emotiwave_core.evaluate.corruption import Corruption, Manifest, must
from emotiwave_core.evaluate.drawing import DIGITS, NEVER, SampleFacts
from emotiwave_core.io.untrusted import parse_json, read_bytes

FORMAT = 1
MOST_BYTES = 1 << 28
MOST_SEED = 2**64 - 1


def draw_manifest(corruption: type[Corruption], samples: SampleFacts, seed: int) -> Manifest:
    """Draw a corruption for some samples. The same seed gives the same manifest, to the byte."""
    levels = np.array(corruption.levels_for(list(samples.modalities)))
    return Manifest(
        format=FORMAT,
        protocol=corruption.name,
        seed=seed,
        levels=levels.tolist(),
        dataset=samples.dataset,
        fold=samples.fold,
        modalities=list(samples.steps),
        samples=samples.ids,
        steps=samples.steps,
        recipe=corruption.recipe,
        **corruption.draw(samples, levels, seed),
    )


def read_manifest(path: Path, corruption: type[Corruption]) -> tuple[Manifest, bytes]:
    """A manifest of this corruption and the bytes of its file. DataError where it is not one."""
    try:
        data = read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"Cannot read the manifest {path}: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} is no manifest: {error}.") from error
    return parse_manifest(data, corruption, str(path)), data


def parse_manifest(data: bytes, corruption: type[Corruption], source: str) -> Manifest:
    """The manifest in some bytes. DataError with one sentence where it is damaged or of another protocol."""
    try:
        table: Any = parse_json(data)
        if isinstance(table, dict):
            version, protocol = table.get("format"), table.get("protocol")
            must(version == FORMAT, f"its format is {short(version)}, and this Emotiwave reads {FORMAT}")
            other = isinstance(protocol, str) and protocol != corruption.name
            must(not other, f"it is of the protocol {short(protocol)}, not {corruption.name}")
        manifest = structure(table, Manifest, "it")
        _check_head(manifest, corruption)
        _check_tables(manifest, corruption)
        _check_since(manifest, corruption)
        corruption.check(manifest)
    except (ValueError, SettingsError) as error:
        reason = " ".join(str(error).removeprefix("it: ").split())[:200].rstrip(".")  # values and keys are a stranger's
        raise DataError(f"The manifest {source} cannot be used: {reason}.") from error
    return manifest


def _check_head(manifest: Manifest, corruption: type[Corruption]) -> None:
    """ValueError where levels, seed, names or recipe cannot be."""
    levels = manifest.levels
    right = 2 <= len(levels) <= len(DIGITS) and levels[0] == 0.0
    must(right, f"its levels are not 0 and up to {len(DIGITS) - 1} more")
    must(levels == sorted(set(levels)), "its levels do not rise")
    most = 1.0 if corruption.by_share else levels[-1]
    must(levels[-1] <= most, f"its level {levels[-1]:g} is a share above 1")
    must(0 <= manifest.seed <= MOST_SEED, "its seed is below 0 or above 2^64 - 1")
    for key, names in (("modalities", manifest.modalities), ("samples", manifest.samples)):
        must(0 < len(names) == len(set(names)), f"its {key} are not there, or not all different")
    must(manifest.recipe == corruption.recipe, "its recipe is not known here")


def _check_tables(manifest: Manifest, corruption: type[Corruption]) -> None:
    """ValueError where a table has not the modalities, or not the samples, that it must have."""
    tables: dict[str, dict[str, Any]] = {
        "steps": manifest.steps,
        "since": manifest.since,
        "partners": manifest.partners,
        "deviation": manifest.deviation,
    }
    count = len(manifest.samples)
    for key, table in tables.items():
        modalities = manifest.modalities if key == "steps" or key in corruption.tables else ()
        must(set(table) == set(modalities), f"its {key} are not of its modalities")
        for modality, values in table.items():
            fits = key == "deviation" or len(values) == count
            must(fits, f"'{key}' of {short(modality)} has {len(values)} entries for {count} samples")
    for modality, steps in manifest.steps.items():
        must(min(steps) >= 0, f"a number of steps of {short(modality)} is below 0")


def _check_since(manifest: Manifest, corruption: type[Corruption]) -> None:
    """ValueError where a text of `since` has another length than its sample, or a character that is no level."""
    allowed = set(DIGITS[1 : len(manifest.levels)] + NEVER)
    for modality, texts in manifest.since.items():
        for sample, text, steps in zip(manifest.samples, texts, manifest.steps[modality], strict=True):
            length = steps if corruption.by_step else 1
            fits = len(text) == length and allowed.issuperset(text)
            many = f"{length} characters, each" if length > 1 else "one character,"
            wanted = f"must be {many} the number of a level from 1 or '{NEVER}'" if length else "must be empty"
            must(fits, f"'since' of {short(modality)} of {short(sample)} {wanted}")
