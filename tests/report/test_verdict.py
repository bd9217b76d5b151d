"""The verdict at the top of a report: plain sentences that are true of the scores, whatever they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_fixture import write_run
from report_page import page_of

from emotiwave_core.report.verdict import verdict
from emotiwave_core.runs.scores import read_scores

THREE = {
    "text": 0.10, "audio": 0.40, "visual": 0.55, "text+audio": 0.42, "text+visual": 0.60, "audio+visual": 0.70,
    "text+audio+visual": 0.70,
}  # fmt: skip


def verdict_of(
    run: Path, values: dict[str, float], *, spread: float | None = 0.04, chance: float = 0.2, **shape: Any
) -> str:
    """The verdict on a run with these macro-F1s, their intervals `spread` to each side, and chance."""
    write_run(run, modalities=list(values)[-1].split("+"), each=2, **shape)
    it = json.loads((run / "scores.json").read_text())
    assert list(it["configurations"]) == list(values)
    for name, value in values.items():
        ends = None if spread is None else [max(value - spread, 0.0), min(value + spread, 1.0)]
        it["configurations"][name] |= {"macro_f1": value, "macro_f1_interval": ends}
    it["complete"]["macro_f1"] = it["configurations"][it["complete"]["configuration"]]["macro_f1"]
    it["constant"] |= {"macro_f1": chance, "drawn_macro_f1": None}
    (run / "scores.json").write_text(json.dumps(it))
    sentences = verdict(read_scores(run))
    assert sentences in page_of(run).text
    return sentences


def test_verdict_says_what_the_whole_is_worth(tmp_path: Path) -> None:
    """The complete score with its interval, beside the best modality and chance; what is lost; who alone is no help."""
    assert verdict_of(tmp_path, THREE) == (
        "With all three modalities macro-F1 is 0.700 (95% interval 0.660–0.740), 0.150 above visual, the best single "
        "modality (0.550), and 0.500 above chance (0.200). Without visual it falls most, to 0.420; nothing is lost "
        "without text. On its own, text is no better than chance."
    )


def test_verdict_on_one_modality(tmp_path: Path) -> None:
    """With one modality nothing is compared but chance."""
    assert verdict_of(tmp_path, {"audio": 0.4}) == (
        "With audio, the only modality, macro-F1 is 0.400 (95% interval 0.360–0.440), 0.200 above chance (0.200)."
    )


def test_verdict_on_two_modalities(tmp_path: Path) -> None:
    """With two modalities what is left without one is the other alone; several that say nothing are named together."""
    assert verdict_of(tmp_path, {"text": 0.22, "audio": 0.18, "text+audio": 0.4}, objective="multi") == (
        "With both modalities macro-F1 is 0.400 (95% interval 0.360–0.440), 0.180 above text, the best single modality "
        "(0.220), and 0.200 above chance (0.200). Without text it falls to 0.180. On its own, audio is no better than "
        "chance. On its own, text is not clearly better than chance."
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [(0.15, "no better than chance (0.200)"), (0.2, "no better than chance (0.200)"),
     (0.2004, "no better than chance (0.200)"), (0.23, "not clearly above chance (0.200), which the interval holds"),
     (0.25, "0.050 above chance (0.200)")],
)  # fmt: skip
def test_verdict_claims_no_more_than_the_interval(tmp_path: Path, value: float, says: str) -> None:
    """Below or at chance it says so, above it only where all of the interval is; numbers are as they are printed."""
    said = verdict_of(tmp_path, {"audio": value})
    assert said.endswith(f", {says}.")


def test_verdict_where_more_modalities_do_not_help(tmp_path: Path) -> None:
    """A whole that is worse than one part, or as good, is said to be; where no modality is missed, that is said."""
    values = dict.fromkeys(THREE, 0.5)
    assert "is 0.500 (95% interval 0.460–0.540), the same as text, the best single modality (0.500), and" in verdict_of(
        tmp_path / "same", values
    )
    said = verdict_of(tmp_path / "worse", values | {"audio": 0.6})
    assert "0.100 below audio, the best single modality (0.600), and 0.300 above chance" in said
    assert said.endswith("Nothing is lost without any one modality.")


def test_verdict_without_intervals_says_that_luck_is_unknown(tmp_path: Path) -> None:
    """With one video there is no interval: the score itself is held against chance, and a sentence says so."""
    said = verdict_of(tmp_path, {"audio": 0.23}, spread=None)
    assert said == (
        "With audio, the only modality, macro-F1 is 0.230, 0.030 above chance (0.200). How far luck moves these scores "
        "is not known: one video cannot be resampled."
    )


def test_verdict_on_synthetic_data_begins_with_that(tmp_path: Path) -> None:
    """A verdict that is quoted without its page still says that the data were generated."""
    assert verdict_of(tmp_path, THREE, synthetic=True).startswith(
        "On synthetic data: with all three modalities macro-F1 is 0.700 "
    )


@pytest.mark.parametrize(
    "change", [lambda it: it["configurations"].pop("audio"), lambda it: it.update(modalities=["a"])]
)
def test_verdict_on_scores_with_fewer_configurations(tmp_path: Path, change: Callable[[Any], object]) -> None:
    """Configurations that a file lacks are not spoken of."""
    run = write_run(tmp_path, each=2)
    it = json.loads((run / "scores.json").read_text())
    change(it)
    (run / "scores.json").write_text(json.dumps(it))
    assert "audio, the best" not in verdict(read_scores(run))
