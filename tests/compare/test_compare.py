"""A comparison from its recipes to its page: runs of the usual kind, done once, and what they come to."""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import h5py
import pytest
from training import start
from typed_commands import typed_commands

import emotiwave as ew
from emotiwave_core.compare import compare as whole
from emotiwave_core.compare.comparison import ComparedRow, Comparison, Difference
from emotiwave_core.compare.jobs import Runs, is_done
from emotiwave_core.compare.metric_tables import metric_tables
from emotiwave_core.compare.outcomes import Outcome, Task, groups_of, read_outcome
from emotiwave_core.compare.pages import escaped, figure, latex, page, probability, verdict
from emotiwave_core.compare.plan import PlannedRun, row_of, run_folder, specialists_of
from emotiwave_core.compare.protocol_tables import check_protocols, protocol_tables
from emotiwave_core.compare.rows import Cell, RowRuns
from emotiwave_core.compare.score_tables import ScoreDifference
from emotiwave_core.config.recipe import DataSettings
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.errors import SettingsError
from emotiwave_core.metrics.headline import headline_of
from emotiwave_core.monitor import Monitor
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.folder import REPORT
from emotiwave_core.runs.protocol_scores import Curve, ProtocolScores
from emotiwave_core.runs.schema import Fraction, Score
from emotiwave_core.runs.scores import MetricMeaning

SMALL = "default,encoder=mean:width=4,training.epochs=1,training.batch_size=8,model.head=8"
RECIPES = {"concat": SMALL, "mean": f"{SMALL},fusion=mean"}


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of the runs that are carried out, in this process; one of the row `bad` fails, and all of `worst`."""
    done: list[str] = []

    def in_this_process(runs: list[PlannedRun], place: Runs, monitor: Monitor) -> dict[str, str]:
        failed = {}
        for run in runs:
            if is_done(run, place.out):
                continue
            done.append(run.folder)
            if run.row.name.startswith("worst") or (run.row.name == "bad" and run.seed == 1):
                failed[run.folder] = "it went wrong"
                continue
            run_folder(place.out, run).parent.mkdir(parents=True, exist_ok=True)
            start(run.recipe(), place.data, run_folder(place.out, run))
        return failed

    monkeypatch.setattr(whole, "carry_out_runs", in_this_process)
    return done


def with_folds(tiny: Path, folder: Path) -> Path:
    """A copy of the data set, with a file of three folds in its folder."""
    shutil.copytree(tiny, folder)
    videos = sorted({own.split("[")[0] for own in open_corpus(tiny, DataSettings()).store.ids})
    (folder / "cv.json").write_text(json.dumps({f"fold{n}": videos[n::3] for n in range(3)}))
    return folder


def test_rows_seeds_and_folds_are_runs(tiny: Path, tmp_path: Path, carried_out: list[str]) -> None:
    """Every row, seed and fold is a run; what is done is not done again; one that fails costs itself."""
    data = with_folds(tiny, tmp_path / "data")
    rows = {"concat": SMALL, "bad": f"{SMALL},fusion=mean"}
    result = ew.compare(data, rows, out=tmp_path / "cmp", seeds=2, folds="cv.json")
    assert len(carried_out) == len(set(carried_out)) == 2 * 2 * 3
    assert [row.runs for row in result.rows] == [6, 3]
    assert result.rows[1].failed == {f"runs/bad/seed-1-fold-{n}": "it went wrong" for n in range(3)}
    assert (result.seeds, result.folds) == ([0, 1], [0, 1, 2])
    one = result.rows[1].differences["mean"]
    assert (one.pairs, one.p) == (3, one.p_folds)
    assert "3 runs of bad failed and are left out." in result.notes
    carried_out.clear()
    again = ew.compare(data, rows, out=tmp_path / "cmp", seeds=2, folds="cv.json")
    assert carried_out == [f"runs/bad/seed-1-fold-{n}" for n in range(3)]
    assert again == result
    run = ew.open_run(tmp_path / "cmp/runs/concat/seed-1-fold-2")
    assert run.scores().mean == pytest.approx(_score(tmp_path / "cmp/runs/concat/seed-1-fold-2"))
    rows.pop("bad")
    labels = next(data.glob("*abels*"))
    shutil.copy(labels, tmp_path / "labels")
    with h5py.File(labels, "r+") as file:
        next(iter(next(iter(file.values()))["data"].values()))["features"][0] += 1
    with pytest.raises(ew.DataError, match="have changed since"):
        ew.compare(data, rows, out=tmp_path / "cmp", seeds=2, folds="cv.json")
    shutil.copy(tmp_path / "labels", labels)
    with pytest.raises(ew.SettingsError, match="was made from another recipe"):
        ew.compare(data, {"concat": f"{SMALL},fusion=tensor"}, out=tmp_path / "cmp", seeds=1, folds="cv.json")


@pytest.mark.full
def test_runs_from_before_a_setting_was_there_are_done(tiny: Path, tmp_path: Path, carried_out: list[str]) -> None:
    """A run whose recipe lacks a setting has its default, and is not trained again."""
    ew.compare(tiny, {"a": SMALL}, out=tmp_path, seeds=1)
    carried_out.clear()
    recipe = tmp_path / "runs/a/seed-0/recipe.toml"
    assert "members = 1\n" in recipe.read_text()
    recipe.write_text(recipe.read_text().replace("members = 1\n", ""))
    ew.compare(tiny, {"a": SMALL}, out=tmp_path, seeds=1)
    assert not carried_out
    with pytest.raises(ew.SettingsError, match="was made from another recipe"):
        ew.compare(tiny, {"a": f"{SMALL},model.members=2"}, out=tmp_path, seeds=1)


@pytest.mark.full
def test_a_row_may_know_its_speakers(tiny: Path, tmp_path: Path, carried_out: list[str]) -> None:
    """An enrolment is a row's own: beside one without it stands, alone or of runs; with other clips it has changed."""
    data = shutil.copytree(tiny, tmp_path / "data")
    with (data / "dataset.toml").open("a") as file:
        file.write('\n[groups]\nseparator = "-"\nfield = 1\n')
    (data / "who.txt").write_text("v00\nv01\nv02\n")
    rows = {"nobody": SMALL, "some": f"{SMALL},model.standardise=enrolled,data.enrolment=who.txt"}
    result = ew.compare(data, rows, out=tmp_path / "cmp", seeds=1)
    assert [row.runs for row in result.rows] == [1, 1]
    again = ew.compare_runs([tmp_path / f"cmp/runs/{name}/seed-0" for name in rows], out=tmp_path / "side")
    assert [row.scores for row in again.rows] == [row.scores for row in result.rows]
    (data / "who.txt").write_text("v00\n")
    with pytest.raises(ew.DataError, match="have changed since"):
        ew.compare(data, rows, out=tmp_path / "cmp", seeds=1)


@pytest.mark.full
def test_a_run_that_was_cut_while_it_reported_goes_on(tiny: Path, tmp_path: Path, carried_out: list[str]) -> None:
    """A run with scores and without its page is not done: it is carried out, to a page."""
    ew.compare(tiny, {"a": SMALL}, out=tmp_path, seeds=1)
    carried_out.clear()
    (tmp_path / "runs/a/seed-0" / REPORT).unlink()
    with contextlib.suppress(ew.SettingsError):  # to go on is a program's to do
        ew.compare(tiny, {"a": SMALL}, out=tmp_path, seeds=1)
    assert carried_out == ["runs/a/seed-0"]


@pytest.mark.full
@pytest.mark.parametrize("place", [Path.mkdir, lambda lock: lock.symlink_to("elsewhere")])
def test_a_lock_that_is_no_file_is_one_sentence(
    tiny: Path, tmp_path: Path, place: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """What stands in the place of a comparison's lock is named, with exit code 5, and left as it is."""
    place(tmp_path / whole.LOCK)
    answer = typed_commands(capfd, "compare", tiny.as_posix(), "--out", str(tmp_path))("--recipe", f"a={SMALL}")
    assert (answer.code, f"Cannot write {tmp_path / whole.LOCK}" in answer.err) == (5, True), answer.err
    assert [path.name for path in tmp_path.iterdir()] == [whole.LOCK]


@pytest.mark.full
def test_a_row_whose_runs_all_fail_is_a_note(tiny: Path, tmp_path: Path, carried_out: list[str]) -> None:
    """Its reason is a note, and its specialists are left out; as the first row it leaves nothing to compare."""
    with pytest.raises(ew.DataError, match="No run of worst has ended: it went wrong"):
        ew.compare(tiny, {"worst": SMALL, "good": SMALL}, seeds=1, out=tmp_path / "a")
    result = ew.compare(tiny, {"good": SMALL, "worst": SMALL}, seeds=1, specialists=["worst"], out=tmp_path / "b")
    assert [row.name for row in result.rows] == ["good"]
    assert "No run of worst has ended: it went wrong" in result.notes
    assert (tmp_path / "b" / "comparison.html").is_file()


def _score(run: Path) -> float:
    return float(json.loads((run / "scores.json").read_text())["mean_macro_f1"])


def test_means_are_those_of_the_runs(tiny: Path, tmp_path: Path, carried_out: list[str]) -> None:
    """A cell is the mean of its runs' scores; the sums of the groups give each run's own score; the files agree."""
    result = ew.compare(tiny, RECIPES, out=tmp_path / "cmp", seeds=2)
    group_of, unit = groups_of(open_corpus(tiny, DataSettings()))
    assert (result.unit, result.folds, result.groups) == (unit, None, result.groups)
    for row in result.rows:
        folders = [tmp_path / "cmp/runs" / row.name / f"seed-{seed}" for seed in (0, 1)]
        assert row.scores["mean"].mean == pytest.approx(sum(map(_score, folders)) / 2)
        outcome = read_outcome(folders[0], group_of)
        headline = headline_of(outcome.task.objective)
        for name, own in outcome.sums.items():
            assert headline.of_sums(own.sum(axis=0)).mean() == pytest.approx(outcome.scores[name])
        interval = row.scores["mean"].interval
        assert interval is not None
        assert interval[0] < interval[1]
    for suffix in ("json", "html", "tex", "png", "pdf", "svg"):
        assert (tmp_path / "cmp" / f"comparison.{suffix}").stat().st_size > 100
    stored = json.loads((tmp_path / "cmp/comparison.json").read_text())
    assert stored == result.to_dict()
    assert stored["rows"][1]["differences"]["mean"]["p"] == result.rows[1].differences["mean"].p_groups


@pytest.mark.full
def test_specialists_answer_one_configuration_each(tiny: Path, tmp_path: Path, carried_out: list[str]) -> None:
    """The row of the specialists has in each configuration the score of the run that was trained on that one alone."""
    result = ew.compare(tiny, {"a": SMALL}, out=tmp_path / "cmp", seeds=1, specialists=["a"])
    assert len(carried_out) == 1 + len(result.configurations)
    both = {row.name: row for row in result.rows}
    for name in result.configurations:
        own = ew.open_run(tmp_path / f"cmp/runs/a.only.{name}/seed-0").scores()[name].score
        assert both["a.specialists"].scores[name].mean == pytest.approx(own)
    with pytest.raises(ew.SettingsError, match="no such row"):
        ew.compare(tiny, {"a": SMALL}, out=tmp_path / "cmp", seeds=1, specialists=["b"])


def test_a_specialist_sees_one_configuration_alone() -> None:
    """It keeps nothing else in training, is chosen by that configuration, and learns from no complete sample."""
    registry = load_registry()
    robust = row_of("robust", "robust", registry, None)
    rows = specialists_of(robust, ("text", "audio", "visual"), registry)
    assert len(rows) == 7
    for row in rows:
        assert row.recipe.dropout.options == {"weights": {row.configuration: 1.0}, "other": 0.0}
        assert row.recipe.training.select == row.configuration
        assert (row.recipe.objective.complete, row.recipe.objective.distillation) == (0.0, 0.0)
        assert (row.recipe.fusion, row.recipe.encoder) == (robust.recipe.fusion, robust.recipe.encoder)


def test_wrong_rows_are_told_before_any_run(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A name, recipe, part or file that is not there is one sentence and exit code 2, and nothing is written."""
    compare = typed_commands(capfd, "compare", tiny.as_posix(), "--out", str(tmp_path / "cmp"))
    for flags, sentence in (
        (["--recipe", "default"], "--recipe takes NAME=RECIPE"),
        (["--recipe", "../x=default"], "cannot name a row"),
        (["--recipe", "a=defualt"], "default"),
        (["--recipe", "a=default,fusion=mena"], "mean"),
        (["--recipe", "a=default,metric=nope:x=1"], "no metric 'nope'"),
        (["--recipe", "a=default,fusion"], "after the recipe stand KEY=VALUE"),
        (["--recipe", "a=default", "--recipe", "a=robust"], "Two rows are named a"),
        (["--recipe", "a=default", "--folds", "none.json"], "none.json"),
    ):
        answer = compare(*flags)
        assert (answer.code, sentence in answer.err) == (2, True), answer.err
    assert not (tmp_path / "cmp").exists()


def made_up(name: str = "b") -> Comparison:
    """A comparison of two rows."""
    cells = {"text": Cell(0.5, 0.01, [0.4, 0.6])}
    sure = Difference(0.2, [0.1, 0.3], 6, 0.001, None, 0.03, 0.001, 0.002)
    rows = [ComparedRow("a", "default", 3, {}, cells, {})]
    rows.append(ComparedRow(name, "default", 3, {"x": "<b>"}, {"text": Cell(0.7, None, None)}, {"text": sure}))
    return Comparison("<i>data", "macro_f1", ["text"], [0, 1, 2], None, 99, 12, "group", rows, "A test_.", ["a & b"])


@pytest.mark.full
def test_one_row_is_compared_with_nothing() -> None:
    """The verdict of a single row claims no difference, and none that is missing."""
    both = made_up()
    assert verdict(both).startswith("Compared with a")
    assert verdict(attrs.evolve(both, rows=both.rows[:1])) == "a is the only row: it is compared with nothing."


def test_names_are_text_in_page_and_latex() -> None:
    """Markup in names is shown, not run; the best is bold, and only a corrected p below .05 has a star."""
    hostile = made_up("<script>x_1&%")
    text = page(hostile, b"<svg/>")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<i>data" not in text
    table = latex(hostile)
    assert r"<script>x\_1\&\% & \textbf{.700}$^{*}$ & $.002$ \\" in table
    assert table.count("&") - table.count(r"\&") == 2 * 4  # four lines of three cells
    assert r"A test\_." in table
    assert escaped("a\\b\n{c}") == r"a\textbackslash{}b \{c\}"
    assert (probability(None), probability(0.0004), probability(0.25), probability(1.0)) == ("–", "< .001", ".250", "1")
    assert figure(hostile).axes[0].get_xlabel().startswith("macro-F1")


@pytest.mark.full
def test_metrics_of_plugins_have_a_table(
    tiny: Path, tmp_path: Path, carried_out: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Each cell is the mean of the runs that were asked, on the page and the terminal; a row that lacks it is named."""
    rows = [
        "--recipe",
        f"a={SMALL},metric=uar",
        "--recipe",
        f"b={SMALL},fusion=mean,metric=uar",
        "--recipe",
        f"c={SMALL}",
    ]
    answer = typed_commands(capfd, "compare", tiny.as_posix(), "--out", str(tmp_path / "cmp"))("--seeds", "2", *rows)
    note = "c has no UAR: its runs were not asked for it (metric=uar)."
    assert answer.code == 0
    assert f"Note: {note}" in answer.out
    assert "UAR (higher is better): mean over the classes" in answer.out
    stored = json.loads((tmp_path / "cmp/comparison.json").read_text())
    table = stored["metrics"]["uar"]
    assert (list(table["rows"]), note in stored["notes"]) == (["a", "b"], True)
    for name, cells in table["rows"].items():
        runs = [ew.open_run(tmp_path / f"cmp/runs/{name}/seed-{seed}").scores() for seed in (0, 1)]
        for configuration in stored["configurations"]:
            values = [run[configuration].extra["uar"] for run in runs]
            assert cells[configuration]["mean"] == pytest.approx(statistics.mean(values))
            assert cells[configuration]["deviation"] == pytest.approx(statistics.stdev(values))
        assert cells["mean"]["mean"] == pytest.approx(
            statistics.mean(cells[configuration]["mean"] for configuration in stored["configurations"])
        )
        assert f"{cells['mean']['mean']:.3f} ± {cells['mean']['deviation']:.3f}" in answer.out
    assert "<h2>UAR</h2>" in (tmp_path / "cmp/comparison.html").read_text()


def row_of_scores(name: str, *values: float | None, title: str = "X") -> RowRuns:
    """A row whose runs have these scores of a metric in text, and .5 in audio; None: it is not defined."""
    meaning = {"x": MetricMeaning(title, "x", False, None)}
    task, runs = Task("single", 1, 2, ""), {}
    for seed, value in enumerate(values):
        scores = {"audio": 0.5} | ({} if value is None else {"text": value})
        outcome = Outcome(task, {}, {}, (), 1, {"x": scores}, meaning)
        runs[seed, None] = {"text": outcome, "audio": outcome}
    return RowRuns(name, "default", runs)


def test_a_metric_that_is_not_defined_leaves_no_mean_behind() -> None:
    """A score that a run lacks costs its cell, and the mean, and is told; another metric of the name is left out."""
    rows = [row_of_scores("a", 1.0, 2.0), row_of_scores("b", 1.0, None), row_of_scores("c", 1.0, title="Y")]
    tables, notes = metric_tables(rows, ["text", "audio"])
    assert tables["x"].rows["a"] == {
        "text": Cell(1.5, pytest.approx(0.5**0.5), None),
        "audio": Cell(0.5, 0.0, None),
        "mean": Cell(1.0, pytest.approx(0.125**0.5), None),
    }
    assert tables["x"].rows["b"] == {"audio": Cell(0.5, 0.0, None)}
    assert (tables["x"].columns, tables["x"].best("text")) == (["text", "audio", "mean"], "a")
    assert notes == [
        "X of b is not defined in 1 of its 2 runs (text), and is left out there.",
        "The metric 'x' of c is not that of a, and is left out.",
    ]


def score_in_this_process(planned: list[PlannedRun], protocols: Any, runs: Runs, _: Monitor) -> dict[str, str]:
    """As `score_under_protocols`; no run of the row `bad` can be scored."""
    for run in planned:
        for name in protocols if run.row.name != "bad" else ():
            ew.open_run(run_folder(runs.out, run)).robustness(name)
    return {run.folder: "it went wrong" for run in planned if run.row.name == "bad"}


@pytest.mark.full
def test_rows_are_compared_under_protocols(
    tiny: Path, tmp_path: Path, carried_out: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Each cell is the mean area of its runs, with a difference and a p over folds; who has none is told, exit code 3.

    Specialists are the one of the complete configuration.
    """
    monkeypatch.setattr(whole, "score_under_protocols", score_in_this_process)
    monkeypatch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])
    data = with_folds(tiny, tmp_path / "data")
    rows = [f"--recipe={name}={SMALL}{more}" for name, more in (("a", ""), ("b", ",fusion=mean"), ("bad", ""))]
    answer = typed_commands(capfd, "compare", data.as_posix(), "--out", str(tmp_path / "cmp"))(
        *rows, "--specialists", "a", "--folds", "cv.json", "--seeds", "1", "--protocol", "noise"
    )
    assert answer.code == 3
    assert answer.err.splitlines()[-1].endswith("3 runs could not be scored under the protocols; the page says why.")
    stored = json.loads((tmp_path / "cmp/comparison.json").read_text())
    table, page_ = stored["protocols"]["noise"], (tmp_path / "cmp/comparison.html").read_text()
    assert list(table["rows"]) == ["a", "b", "a.specialists"]
    folders = {"a": "a", "b": "b", "a.specialists": "a.only.text+audio+visual"}
    areas = {
        row: [
            json.loads((tmp_path / f"cmp/runs/{folder}/seed-0-fold-{fold}/protocols/noise.json").read_text())
            for fold in range(3)
        ]
        for row, folder in folders.items()
    }
    for column in ("text", "audio", "visual", "text+audio+visual"):
        for row, cells in table["rows"].items():
            own = [one["curves"][column]["auilc"] for one in areas[row]]
            assert cells[column]["mean"] == pytest.approx(statistics.mean(own))
            if row != "a":
                first = [one["curves"][column]["auilc"] for one in areas["a"]]
                found = table["differences"][row][column]
                assert found["difference"] == pytest.approx(statistics.mean(own) - statistics.mean(first))
                assert 0 < found["p_folds"] <= found["p_holm"] <= 1
    assert list(stored["unscored"]) == [f"runs/bad/seed-0-fold-{fold}" for fold in range(3)]
    assert "bad was not scored under the protocol noise: emotiwave evaluate" in answer.out
    assert "Under noise (higher is better): mean macro-F1 of the complete configuration (AUILC)" in answer.out
    assert "<h2>Under noise</h2>" in page_
    assert "<code>runs/bad/seed-0-fold-2</code>: it went wrong" in page_


def test_other_damage_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that met other draws of a protocol are both shown, and a note says that they are not paired."""
    curve = Curve(
        levels=[0.0, 1.0], reached=[Fraction(0), Fraction(1)], score=[Score(0.5), Score(0.3)], beside=[0, 0],
        intervals=None, auilc=0.4, relative_robustness=0.4, effective_robustness=None,
    )  # fmt: skip
    scores = ProtocolScores(
        protocol="noise", unit="noise", dataset="d", synthetic=True, fold="test", samples=2, seed=0, manifest=None,
        manifest_sha256="1", curves={"text": curve, "audio": attrs.evolve(curve, reached=[Fraction(0), Fraction(0)])},
    )  # fmt: skip
    of_run = {"one": scores, "other": attrs.evolve(scores, manifest_sha256="2")}
    monkeypatch.setattr("emotiwave_core.compare.protocol_tables.read_protocol", lambda run, _: of_run[run.name])
    rows = [RowRuns(name, "default", {(0, None): {}}) for name in of_run]
    folders = {name: {(0, None): tmp_path / name} for name in of_run}
    monkeypatch.setattr(RowRuns, "test_share", lambda *_: 0.2)
    tables, notes = protocol_tables(rows, folders, ["noise"])
    assert notes == ["other met other damage under noise than one: another seed of it, or other settings of [data]."]
    assert {row: list(cells) for row, cells in tables["noise"].rows.items()} == {"one": ["text"], "other": ["text"]}
    assert tables["noise"].differences["other"]["text"] == ScoreDifference(0.0, 1, None, None)


def test_damaged_scores_of_a_protocol_are_as_none(tmp_path: Path) -> None:
    """They cost no comparison: the row is not in the table, and the note says how they are made anew."""
    (tmp_path / "run/protocols").mkdir(parents=True)
    (tmp_path / "run/protocols/noise.json").write_text("{")
    rows = [RowRuns("a", "default", {(0, None): {}})]
    tables, notes = protocol_tables(rows, {"a": {(0, None): tmp_path / "run"}}, ["noise"])
    again = f"emotiwave evaluate {tmp_path / 'run'} --protocol noise"
    assert (tables, notes) == ({}, [f"a was not scored under the protocol noise: {again}"])


def test_protocols_that_cannot_be_applied_are_refused_before_any_run(
    tiny: Path, tmp_path: Path, carried_out: list[str]
) -> None:
    """A name that is none, and one that computes with features where there are words."""
    with pytest.raises(SettingsError, match="There is no protocol"):
        ew.compare(tiny, RECIPES, out=tmp_path / "cmp", seeds=1, protocols=["nois"])
    store = SimpleNamespace(modalities=("text",), words={"text": ("yes",)})
    with pytest.raises(SettingsError, match="'noise' computes with features, and 'text' is words"):
        check_protocols(["noise"], cast("Any", store))
    with pytest.raises(SettingsError, match="'random' takes away modalities and needs two; the data have only text"):
        check_protocols(["random"], cast("Any", store))
    assert carried_out == []


@pytest.mark.slow
def test_protocols_are_scored_once(tiny: Path, tmp_path: Path) -> None:
    """As a program: a second call scores nothing anew, a third what is damaged, and all end with the same numbers."""
    program = [sys.executable, "-m", "emotiwave_core.cli", "compare", str(tiny), "--recipe", f"a={SMALL}"]
    program += ["--seeds", "1", "--protocol", "noise", "--protocol", "blocks", "--out", str(tmp_path / "cmp"), "--json"]
    answers, files = [], []
    for _ in range(3):
        done = subprocess.run(program, check=True, capture_output=True, text=True, timeout=900)
        answers.append(json.loads(done.stdout)["protocols"])
        noise, blocks = (tmp_path / f"cmp/runs/a/seed-0/protocols/{name}.json" for name in ("noise", "blocks"))
        files.append([file.stat().st_mtime_ns for file in (noise, blocks)])
        if len(files) == 2:
            noise.write_text("{}")
    assert answers[0] == answers[1] == answers[2]
    assert files[0] == files[1]
    assert files[2][0] > files[1][0]
    assert files[2][1] == files[1][1]


@pytest.mark.slow
def test_a_stopped_comparison_goes_on(tiny: Path, tmp_path: Path) -> None:
    """As a program in processes: Ctrl-C keeps what is done, and the same command ends as one that was not stopped."""
    recipes = [flag for name, recipe in RECIPES.items() for flag in ("--recipe", f"{name}={recipe},training.epochs=4")]
    program = [
        sys.executable,
        "-m",
        "emotiwave_core.cli",
        "compare",
        str(tiny),
        *recipes,
        "--seeds",
        "2",
        "--jobs",
        "2",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def whole_run(out: Path) -> Any:
        return subprocess.run(
            [*program, "--out", str(out)], check=True, capture_output=True, env=environment, timeout=900
        )

    first = subprocess.Popen([*program, "--out", str(tmp_path / "a")], stderr=subprocess.DEVNULL, env=environment)
    end = time.monotonic() + 900
    while time.monotonic() < end and not list((tmp_path / "a").glob("runs/*/*/history.jsonl")):
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    assert first.wait(900) == 130
    whole_run(tmp_path / "a")
    whole_run(tmp_path / "b")
    assert (tmp_path / "a/comparison.json").read_bytes() == (tmp_path / "b/comparison.json").read_bytes()
