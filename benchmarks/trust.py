"""Calibration of the runs of one recipe on several folds, and their scores where a modality lies.

python benchmarks/trust.py calibration RUN...      # ECE before and after, all test samples together
python benchmarks/trust.py alarms RUN...           # protocols with the alarms off and on, the mean over the runs
python benchmarks/trust.py pairs RUN...            # samples that get a modality of another: alarms, fit and score
"""

import csv
from collections import defaultdict
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import emotiwave as ew
from emotiwave_core.config.recipe import OnAlarm
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.predict.agreement import pair_alarms
from emotiwave_core.runs.model_file import PairAgreement, read_model_file

Array = NDArray[np.float64]
RUNS = click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
SHARES, DRAWS = (0.0, 0.25, 0.5, 0.75, 1.0), 20
PROTOCOLS = ("noise", "blocks", "frozen", "swap")


@click.group()
def main() -> None:
    """Look at whether a run's probabilities and its alarms can be trusted."""


@main.command("calibration")
@RUNS
def print_calibration(runs: tuple[Path, ...]) -> None:
    """Print the expected calibration error of each configuration, without and with the calibration of the runs."""
    for name, (before, after) in pooled_errors(runs).items():
        print(f"| {name} | {before:.3f} | {after:.3f} |")


def pooled_errors(runs: tuple[Path, ...]) -> dict[str, tuple[float, float]]:
    """The error of each configuration over the test samples of all runs, without and with their temperatures."""
    given: dict[str, list[Array]] = defaultdict(list)
    raw: dict[str, list[Array]] = defaultdict(list)
    truths: dict[str, list[int]] = defaultdict(list)
    for run in runs:
        model = read_model_file(run)
        with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                name, chances = row["configuration"], np.array([float(row[f"p({label})"]) for label in model.classes])
                fitted = (model.calibration or {}).get(name)
                temperature = 1.0 if fitted is None else fitted.temperature
                powers = temperature * np.log(np.maximum(chances, np.finfo(float).tiny))
                undone = np.exp(powers - powers.max())
                given[name].append(chances)
                raw[name].append(undone / undone.sum())
                truths[name].append(model.classes.index(row["truth"]))
    return {name: (_error(raw[name], truths[name]), _error(given[name], truths[name])) for name in given}


def _error(chances: list[Array], truth: list[int]) -> float:
    stacked = np.stack(chances)
    return float(calibration(np.array(truth), stacked.argmax(axis=1), stacked).ece)


@main.command("alarms")
@RUNS
def print_alarms(runs: tuple[Path, ...]) -> None:
    """Print the score of each modality's curve at each level with alarms off and on, and without the modality."""
    for protocol in PROTOCOLS:
        off, on = (mean_curves(runs, protocol, kind) for kind in ("ignore", "drop"))
        for name in off:
            if "+" not in name:
                print(f"| {protocol} | {name} | without it {without(runs, name):.3f} |")
                print("| | alarms off |", " ".join(f"{value:.3f}" for value in off[name]), "|")
                print("| | alarms on |", " ".join(f"{value:.3f}" for value in on[name]), "|")


def mean_curves(runs: tuple[Path, ...], protocol: str, on_alarm: OnAlarm) -> dict[str, Array]:
    """The mean over the runs of the score at each level of a protocol, of each curve."""
    scored = [ew.open_run(run, device="cpu", on_alarm=on_alarm).robustness(protocol).curves for run in runs]
    return {name: np.mean([curves[name].score for curves in scored], axis=0) for name in scored[0]}


def without(runs: tuple[Path, ...], modality: str) -> float:
    """The mean over the runs of the score of all modalities but one."""
    scores = [ew.open_run(run).scores() for run in runs]
    return float(np.mean([each["+".join(m for m in each.modalities if m != modality)].score for each in scores]))


@main.command("pairs")
@RUNS
def print_pairs(runs: tuple[Path, ...]) -> None:
    """Print, by the share of the samples whose second modality is another's, the alarms of each pair and its fit."""
    found: dict[tuple[str, float], list[tuple[float, float, bool]]] = defaultdict(list)
    for run in runs:
        alone = answers_alone(run)
        for name, known in (read_model_file(run).agreement or {}).items():
            first, second = (alone[modality] for modality in name.split("+"))
            for share in SHARES:
                for seed in range(DRAWS):
                    found[name, share].append(told_of(known, first, swapped(second, share, seed)))
    for (name, share), told in found.items():
        raised, fit, strangers = (float(np.mean(column)) for column in zip(*told, strict=True))
        print(f"| {name} | {share:g} | {raised:.3f} | {fit:.2f} | {strangers:.2f} |")


def answers_alone(run: Path) -> dict[str, Array]:
    """The answers [N, C] of each modality alone about the samples of a run's test fold."""
    classes, told = read_model_file(run).classes, defaultdict(list)
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if "+" not in row["configuration"]:
                told[row["configuration"]].append([float(row[f"p({label})"]) for label in classes])
    return {name: np.array(rows) for name, rows in told.items()}


def swapped(answers: Array, share: float, seed: int) -> Array:
    """Answers [N, C] of which a share is moved from sample to sample."""
    moved = np.random.default_rng(seed).permutation(len(answers))[: round(share * len(answers))]
    given = answers.copy()
    given[moved] = answers[np.roll(moved, 1)]
    return given


def told_of(known: PairAgreement, first: Array, second: Array) -> tuple[float, float, bool]:
    """The share of the samples that raise an alarm, the fit of all, and True where they are told as strangers."""
    has = np.ones(len(first), dtype=bool)
    agreements, alone, present = {"a+b": known}, {"a": first, "b": second}, {"a": has, "b": has}
    one = pair_alarms([""] * len(first), agreements, alone, present, multi=False)["a+b"]
    assert one.fit is not None, "a test fold has twenty samples"
    return one.raised / one.samples, one.fit, one.are_strangers


if __name__ == "__main__":
    main()
