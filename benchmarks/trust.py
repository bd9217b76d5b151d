"""Calibration of the runs of one recipe on several folds, and their scores where a modality lies.

python benchmarks/trust.py calibration RUN...      # ECE before and after, all test samples together
python benchmarks/trust.py alarms RUN...           # protocols with the alarms off and on, the mean over the runs
python benchmarks/trust.py pairs RUN...            # samples that get a modality of another: alarms and fit
python benchmarks/trust.py swaps RUN...            # how far it would help to believe such samples less
python benchmarks/trust.py together RUN...         # runs of several seeds, each by itself and their answers averaged
"""

import csv
from collections import defaultdict
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

import emotiwave as ew
from emotiwave_core.config.recipe import OnAlarm
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.predict.agreement import log_agreement, pair_alarms
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
    """Print the expected calibration error of each configuration, without and with the calibration of the runs.

    Last, what one shows by chance whose probabilities are right: bins of few samples are never quite as sure as told.
    """
    for name, (before, after, chance) in pooled_errors(runs).items():
        print(f"| {name} | {before:.3f} | {after:.3f} | {chance:.3f} |")


def pooled_errors(runs: tuple[Path, ...]) -> dict[str, tuple[float, float, float]]:
    """The error of each configuration over the test samples of all runs, without and with their temperatures.

    Third, the mean error over 20 draws of truths by the probabilities with their temperatures.
    """
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
    return {
        name: (_error(raw[name], truths[name]), _error(given[name], truths[name]), _by_chance(given[name]))
        for name in given
    }


def _by_chance(chances: list[Array]) -> float:
    """The error where the truths are drawn by the probabilities."""
    random, ends = np.random.default_rng(0), np.stack(chances).cumsum(axis=1)
    last = ends.shape[1] - 1  # sums are 1 but for rounding
    truths = [(random.random((len(ends), 1)) > ends[:, :last]).sum(axis=1).tolist() for _ in range(DRAWS)]
    return float(np.mean([_error(chances, truth) for truth in truths]))


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
    """Print, by the share of the samples whose second modality is another's, the alarms of each pair and its fit.

    The last column is the area under the ROC curve of the agreement: how well it tells those samples from the others.
    """
    found: dict[tuple[str, float], list[tuple[float, ...]]] = defaultdict(list)
    for run in runs:
        alone = answers_alone(run)
        for name, known in (read_model_file(run).agreement or {}).items():
            first, second = (alone[modality] for modality in name.split("+"))
            for share in SHARES:
                for seed in range(DRAWS):
                    moved = drawn(len(second), share, seed)
                    found[name, share].append(told_of(known, first, swapped(second, moved), moved))
    for (name, share), told in found.items():
        raised, fit, strangers, area = (float(np.mean(column)) for column in zip(*told, strict=True))
        print(f"| {name} | {share:g} | {raised:.3f} | {fit:.2f} | {strangers:.2f} | {area:.2f} |")


def answers_alone(run: Path) -> dict[str, Array]:
    """The answers [N, C] of each modality alone about the samples of a run's test fold."""
    return {name: answers for name, answers in answers_of(run)[1].items() if "+" not in name}


def drawn(samples: int, share: float, seed: int) -> NDArray[np.int64]:
    """A share of the samples, in a random order."""
    return np.random.default_rng(seed).permutation(samples)[: round(share * samples)]


def swapped(answers: Array, moved: NDArray[np.int64]) -> Array:
    """Answers [N, C] of which those of some samples are moved to the next of them."""
    given = answers.copy()
    given[moved] = answers[np.roll(moved, 1)]
    return given


def told_of(known: PairAgreement, first: Array, second: Array, moved: NDArray[np.int64]) -> tuple[float, ...]:
    """The share of the samples that raise an alarm, the fit of all, whether they are told as strangers, and the area.

    The area is that under the curve by which the agreement tells `moved` from the others; NaN without either.
    """
    has = np.ones(len(first), dtype=bool)
    agreements, alone, present = {"a+b": known}, {"a": first, "b": second}, {"a": has, "b": has}
    one = pair_alarms([""] * len(first), agreements, alone, present, multi=False)["a+b"]
    assert one.fit is not None, "a test fold has twenty samples"
    told, is_moved = (
        log_agreement(first, second, np.array(known.expected), multi=False),
        np.isin(has.cumsum() - 1, moved),
    )
    area = roc_auc_score(~is_moved, told) if 0 < is_moved.sum() < len(has) else float("nan")
    return one.raised / one.samples, one.fit, float(one.are_strangers), float(area)


@main.command("swaps")
@RUNS
def print_swaps(runs: tuple[Path, ...]) -> None:
    """Print macro-F1 of two modalities, clean and with either one another sample's, by three ways to put them together.

    Always: p(c | a, b) by Bayes' rule. Known which: half of all samples are taken to have a stranger in the place of
    the one that lies, the agreement says how likely that is of each, and p(c | the other) is believed by so much. Not
    known which: as much for either. Last, the score of the one that does not lie.
    """
    for pair in read_model_file(runs[0]).agreement or {}:
        for lies in range(2):
            scores = [scores_of(run, pair, lies, draw) for run in runs for draw in range(5)]
            print(f"| {pair} | {pair.split('+')[lies]} lies |", *(f"{x:.3f} |" for x in np.mean(scores, axis=0)))


def scores_of(run: Path, pair: str, lies: int, seed: int) -> list[float]:
    """Macro-F1 of one run with one modality of each sample another's: clean and swapped, for each of the three ways."""
    alone, truth, known = answers_alone(run), truth_of(run), (read_model_file(run).agreement or {})[pair]
    clean = [alone[modality] for modality in pair.split("+")]
    moved = [swapped(one, drawn(len(one), 1.0, seed)) if k == lies else one for k, one in enumerate(clean)]
    ways: dict[str, list[float]] = defaultdict(list)
    for answers in (clean, moved):
        first, second = answers
        ratio = np.exp(log_agreement(first, second, np.array(known.expected), multi=False))[:, None]
        both = first * second / np.array(known.expected)
        both /= both.sum(axis=1, keepdims=True)
        ways["always"].append(score(truth, both))
        ways["which"].append(score(truth, ratio * both + answers[1 - lies]))
        ways["not which"].append(score(truth, ratio * both + (first + second) / 2))
    return [*ways["always"], *ways["which"], *ways["not which"], score(truth, clean[1 - lies])]


def score(truth: list[int], answers: Array) -> float:
    """Macro-F1 of the likeliest class."""
    return float(f1_score(truth, answers.argmax(axis=1), average="macro", labels=range(answers.shape[1])))


def truth_of(run: Path) -> list[int]:
    """The true classes of the samples of a run's test fold."""
    classes = read_model_file(run).classes
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [classes.index(row["truth"]) for row in rows if row["configuration"] == rows[0]["configuration"]]


@main.command("together")
@RUNS
def print_together(runs: tuple[Path, ...]) -> None:
    """Print macro-F1 of each configuration: the mean of the runs, and that of all runs of one test fold together.

    Together: the mean of the logarithms of their probabilities, averaged over the folds. Last, the mean of both lines.
    """
    alike: dict[tuple[str, ...], list[dict[str, Array]]] = defaultdict(list)
    truths: dict[tuple[str, ...], list[int]] = {}
    for run in runs:
        ids, answers = answers_of(run)
        alike[ids].append(answers)
        truths[ids] = truth_of(run)
    single: dict[str, list[float]] = defaultdict(list)
    pooled: dict[str, list[float]] = defaultdict(list)
    for ids, every in alike.items():
        for name in every[0]:
            single[name].append(float(np.mean([score(truths[ids], one[name]) for one in every])))
            pooled[name].append(score(truths[ids], np.mean([np.log(one[name]) for one in every], axis=0)))
    for name in single:
        print(f"| {name} | {np.mean(single[name]):.3f} | {np.mean(pooled[name]):.3f} |")
    print(f"| mean | {np.mean([*single.values()]):.3f} | {np.mean([*pooled.values()]):.3f} |")


def answers_of(run: Path) -> tuple[tuple[str, ...], dict[str, Array]]:
    """The ids of the samples of a run's test fold, and its answers [N, C] about them in each configuration."""
    classes, told, ids = read_model_file(run).classes, defaultdict(list), defaultdict(list)
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            told[row["configuration"]].append([float(row[f"p({label})"]) for label in classes])
            ids[row["configuration"]].append(row["id"])
    return tuple(next(iter(ids.values()))), {name: np.array(rows) for name, rows in told.items()}


if __name__ == "__main__":
    main()
