"""Corruption protocols in a comparison: the area under each curve of each row, and which row lacks what."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emotiwave_core.compare.rows import Key, RowRuns
from emotiwave_core.compare.score_tables import ScoreTable, score_table
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.evaluate.corruptions import find_corruption
from emotiwave_core.runs.protocol_scores import ProtocolScores, read_protocol

if TYPE_CHECKING:
    from emotiwave_core.data.store.store import Store

SEED = 0  # of the damage that a comparison asks for


def check_protocols(protocols: Sequence[str], store: "Store") -> None:
    """SettingsError for a protocol that there is not, or that cannot be applied to these data."""
    for name in protocols:
        corruption = find_corruption(name)
        if corruption.needs_two and len(store.modalities) < 2:
            raise SettingsError(
                f"The protocol '{name}' {corruption.needs_two} and needs two; the data have only {store.modalities[0]}."
            )
        if corruption.reads_numbers and store.words:
            words = ", ".join(f"'{stream}'" for stream in store.words)
            raise SettingsError(f"The protocol '{name}' computes with features, and {words} is words: leave it out.")


def is_scored(run: Path, protocol: str) -> bool:
    """True where a run was scored under a protocol as a comparison asks for it."""
    scores = _scores(run, protocol)
    return scores is not None and (scores.seed, scores.fold) == (SEED, "test")


def _scores(run: Path, protocol: str) -> ProtocolScores | None:
    """The scores of a run under a protocol; None where there are none, or they are damaged: they are made anew."""
    try:
        return read_protocol(run, protocol)
    except DataError:
        return None


def protocol_tables(
    rows: Sequence[RowRuns], folders: Mapping[str, Mapping[Key, Path]], protocols: Iterable[str]
) -> tuple[dict[str, ScoreTable], list[str]]:
    """The tables of these protocols, and a sentence for each that a row was not scored under.

    folders: {row: {seed and fold: the run whose complete configuration is corrupted}}, of all rows that are runs.
    """
    tables, notes = {}, []
    for protocol in protocols:
        scores: dict[str, dict[Key, ProtocolScores]] = {}
        for row, runs in folders.items():
            found = {key: _scores(folder, protocol) for key, folder in runs.items()}
            lacking = [runs[key] for key, own in found.items() if own is None]
            if lacking:
                again = f"emotiwave evaluate {shlex.quote(str(lacking[0]))} --protocol {protocol}"
                notes.append(f"{row} was not scored under the protocol {protocol}: {again}")
            else:
                scores[row] = {key: own for key, own in found.items() if own is not None}
        if scores:
            notes += _other_damage(protocol, scores)
            values = {row: _areas(own) for row, own in scores.items()}
            title, definition = f"Under {protocol}", _definition(next(iter(scores.values())))
            tables[protocol] = score_table(title, definition, True, values, rows)
    return tables, notes


def _areas(scores: Mapping[Key, ProtocolScores]) -> dict[str, dict[Key, float]]:
    """The areas of a row by curve, of those in which something was corrupted in every run."""
    curves = next(iter(scores.values())).curves
    return {
        name: {key: own.curves[name].auilc for key, own in scores.items()}
        for name in curves
        if all(name in own.curves and not own.curves[name].untouched for own in scores.values())
    }


def _definition(scores: Mapping[Key, ProtocolScores]) -> str:
    one = next(iter(scores.values()))
    curve = next(iter(one.curves.values()))
    low, high = (f"{level:g}" for level in (curve.levels[0], curve.levels[-1]))
    return (
        f"mean {one.judged_by.name} of the complete configuration (AUILC) while a modality is damaged, a column for "
        f"each; from {low} to {high}: {one.unit}"
    )


def _other_damage(protocol: str, scores: Mapping[str, Mapping[Key, ProtocolScores]]) -> list[str]:
    """A sentence for each row that met other damage than the first one: of another seed, or of data cut otherwise."""
    first, *others = scores
    drawn = {fold: own.manifest_sha256 for (_, fold), own in scores[first].items()}
    return [
        f"{row} met other damage under {protocol} than {first}: another seed of it, or other settings of [data]."
        for row in others
        if any(drawn.get(fold, own.manifest_sha256) != own.manifest_sha256 for (_, fold), own in scores[row].items())
    ]
