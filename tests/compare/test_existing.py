"""Runs that are there already, side by side: as a comparison that had trained them, or refused with the difference."""

import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import h5py
import pytest
from datasets import write_dataset
from training import small, start
from typed_commands import typed_commands

import emotiwave as ew
from emotiwave_core.compare import compare as whole
from emotiwave_core.compare.jobs import Runs
from emotiwave_core.compare.pages import breakable
from emotiwave_core.compare.plan import PlannedRun, run_folder
from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.errors import DataError

SMALL = "default,encoder=mean:width=4,training.epochs=1,training.batch_size=8,model.head=8"


@pytest.fixture(scope="module")
def compared(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A comparison of two recipes with two seeds, carried out in this process: its folder and its result."""
    out = tmp_path_factory.mktemp("compared")

    def in_this_process(planned: list[PlannedRun], runs: Runs, _: object) -> dict[str, str]:
        for run in planned:
            run_folder(runs.out, run).parent.mkdir(parents=True, exist_ok=True)
            start(run.recipe(), runs.data, run_folder(runs.out, run))
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "carry_out_runs", in_this_process)
        patch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])
        rows = {"concat": SMALL, "mean": f"{SMALL},fusion=mean,training.learning_rate=0.01"}
        return out, ew.compare(tiny, rows, out=out, seeds=2)


@pytest.mark.full
def test_runs_side_by_side_are_as_in_their_comparison(compared: tuple[Path, Any], tmp_path: Path) -> None:
    """Runs of one recipe are a row, named by what differs; all numbers are those of the comparison that made them."""
    out, result = compared
    runs = [out / f"runs/{row}/seed-{seed}" for seed in (1, 0) for row in ("concat", "mean")]
    again = ew.compare_runs(runs, out=tmp_path / "side")
    assert [row.name for row in again.rows] == ["default", "default,fusion=mean,training.learning_rate=0.01"]
    for one, other in zip(again.rows, result.rows, strict=True):
        assert (one.scores, one.differences, one.runs) == (other.scores, other.differences, other.runs)
    assert (again.notes, again.test, again.samples) == (result.notes, result.test, result.samples)
    assert {path.suffix for path in (tmp_path / "side").iterdir()} == {".json", ".html", ".tex", ".png", ".pdf", ".svg"}


@pytest.mark.full
def test_a_row_says_what_it_lacks_against_the_first(
    compared: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed, and a protocol under which the first row was scored: each is a sentence with the way out."""
    monkeypatch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])
    out = tmp_path / "runs"
    shutil.copytree(compared[0] / "runs", out)
    for seed in (0, 1):
        ew.open_run(out / f"concat/seed-{seed}").robustness("noise")
    result = ew.compare_runs([out / "concat/seed-0", out / "concat/seed-1", out / "mean/seed-1"], out=tmp_path / "side")
    name = result.rows[1].name
    assert result.notes[-2:] == [
        f"{name} has no run of seed 0, which default has: they differ by what both have.",
        f"{name} was not scored under the protocol noise: emotiwave evaluate {out / 'mean/seed-1'} --protocol noise",
    ]
    assert (result.rows[0].runs, result.rows[1].differences["mean"].pairs) == (2, 1)
    assert list(result.protocols["noise"].rows) == ["default"]


@pytest.mark.full
def test_what_cannot_be_compared_is_refused_with_the_difference(
    compared: tuple[Path, Any], tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other data, another task, a run given twice or that has not ended: one sentence, and nothing is written."""
    out, _ = compared
    run = out / "runs/concat/seed-0"
    recipe = small(encoder={"name": "mean", "width": 4}, training={"epochs": 1})
    changed = tmp_path / "changed"
    shutil.copytree(tiny, changed)
    with h5py.File(changed / "audio.csd", "r+") as file:
        next(iter(next(iter(file.values()))["data"].values()))["features"][0] += 1
    (tmp_path / "larger").mkdir()
    start(recipe, changed, tmp_path / "a")
    start(recipe, write_dataset(tmp_path / "larger", videos=30), tmp_path / "b")
    start(small(encoder={"name": "mean"}, training={"epochs": 1}, objective={"kind": "multi"}), tiny, tmp_path / "c")
    start(small(encoder={"name": "mean"}, training={"epochs": 1}, seed=7), tiny, tmp_path / "d")
    start(attrs.evolve(recipe, objective=ObjectiveSettings(no_emotion="class")), tiny, tmp_path / "e")
    shutil.copytree(run, tmp_path / "unseeing")
    data = json.loads((tmp_path / "unseeing/data.json").read_text())
    del data["modalities"]["visual"]
    (tmp_path / "unseeing/data.json").write_text(json.dumps(data))
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished/scores.json").unlink()
    report = typed_commands(capfd, "report", run.as_posix())
    for other, code, sentence in (
        ("a", 2, "audio.csd in"),
        ("b", 2, "is not the one in"),
        ("c", 2, "the objective of one is single, and that of the other multi"),
        ("d", 2, "no seed and fold in common (seed 0; seed 7)"),
        ("e", 2, f"{run} has no class "),
        ("unseeing", 2, f"unseeing has no modality visual, which {run} has"),
        ("unfinished", 3, "has not ended: emotiwave run --resume"),
        (run, 2, "are one recipe, seed and fold"),
        (tiny, 3, "holds no run"),
    ):
        answer = report(str(tmp_path / other), "--out", str(tmp_path / "side"))
        assert (answer.code, sentence in answer.err) == (code, True), answer.err
    assert (report(str(tmp_path / "d")).code, report("--out", "x").code) == (2, 2)
    assert not (tmp_path / "side").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [],
        lambda lines: ["[]"],
        lambda lines: lines[:1],
        lambda lines: lines[: len(lines) // 2],
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:-1], lines[-1].replace(lines[-1].split(",")[0], "nobody", 1)],
        lambda lines: [",".join(line.split(",")[:3]) for line in lines],
        lambda lines: [lines[0], *(line.replace("happy", "\x1b]0;x").replace("sad", "?") for line in lines[1:])],
    ],
)
def test_damaged_predictions_are_no_outcome(compared: tuple[Path, Any], tmp_path: Path, damage: Any) -> None:
    """Rows that are cut, doubled, of nobody or of no class are a sentence with the way out, and never fewer samples."""
    out, _ = compared
    run = Path(shutil.copytree(out / "runs/mean/seed-0", tmp_path / "run"))
    lines = (run / "predictions.csv").read_text().splitlines()
    (run / "predictions.csv").write_text("".join(f"{line}\n" for line in damage(lines)))
    with pytest.raises(DataError, match=r"predictions\.csv cannot be used: .*writes it anew"):
        ew.compare_runs([out / "runs/concat/seed-0", run], out=tmp_path / "side")
    assert not (tmp_path / "side").exists()


@pytest.mark.full
def test_scores_of_other_predictions_are_no_outcome(compared: tuple[Path, Any], tmp_path: Path) -> None:
    """A score that is not that of the predictions beside it is a sentence with the way out, and stands in no table."""
    out, _ = compared
    run = Path(shutil.copytree(out / "runs/mean/seed-0", tmp_path / "run"))
    table = json.loads((run / "scores.json").read_text())
    table["configurations"]["text"]["macro_f1"] = 0.99
    (run / "scores.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match=r"scores\.json is not of its predictions for 'text'; .*writes it anew"):
        ew.compare_runs([out / "runs/concat/seed-0", run], out=tmp_path / "side")


def test_names_break_after_punctuation_alone() -> None:
    """No word of a name is cut in two, and no markup in it is obeyed."""
    assert str(breakable("robust.specialists")) == "robust.<wbr>specialists"
    assert str(breakable("a,b=<i>")) == "a,<wbr>b=&lt;i&gt;"
