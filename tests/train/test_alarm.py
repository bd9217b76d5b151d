"""Alarms: SciPy's distance, a threshold of the validation fold, and a model that reads a lying modality as missing."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import write_dataset
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import mahalanobis
from senses import train_run
from sklearn.covariance import LedoitWolf
from training import small, start
from typed_commands import typed_commands

import emotiwave as ew
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.explain.answers import answer_of_sample
from emotiwave_core.interfaces import Encoded
from emotiwave_core.model.alarm import Density, StateAlarm, trusted_in
from emotiwave_core.runs.alarm_file import ALARM
from emotiwave_core.runs.data_file import read_data_folder
from emotiwave_core.runs.model_file import read_model_file
from emotiwave_core.train import fit_alarm
from emotiwave_core.train.fit_alarm import density_of

pytestmark = pytest.mark.full


def test_the_distance_is_scipys_by_the_shrunk_covariance() -> None:
    """It is the Mahalanobis distance of the training's mean and Ledoit and Wolf's covariance, over the threshold."""
    random = np.random.default_rng(0)
    training = random.normal(size=(200, 5)) @ random.normal(size=(5, 5)) + 3.0
    validation, others = random.normal(size=(50, 5)) * 4.0, random.normal(size=(6, 5)) * 10.0
    deviation = training.std(axis=0)
    inverse = LedoitWolf(assume_centered=True).fit((training - training.mean(axis=0)) / deviation).precision_
    inverse = inverse / np.outer(deviation, deviation)
    distances = [[mahalanobis(x, training.mean(axis=0), inverse) for x in rows] for rows in (validation, others)]
    alarm = StateAlarm({"audio": density_of(training, validation)})
    states = torch.from_numpy(others).float()
    encoded = {"audio": Encoded(states[:, None], states, torch.ones(6, 1, dtype=torch.bool))}
    shares = alarm(encoded, torch.tensor([[True]] * 5 + [[False]]))
    assert shares[:5, 0].tolist() == pytest.approx(
        np.divide(distances[1], 1.01 * np.quantile(distances[0], 0.995))[:5], rel=1e-3
    )
    assert shares[5, 0] == 0.0


def test_a_state_that_never_varies_gives_finite_distances() -> None:
    """Features without deviation are no reason for an alarm, nor for a NaN."""
    training = np.zeros((30, 4))
    training[:, 0] = np.arange(30)
    for given in (training, np.zeros((30, 4))):
        density = density_of(given, given[:20])
        assert all(tensor.isfinite().all() for tensor in density)
        assert density.threshold > 0


def test_samples_that_are_as_usual_raise_no_alarm() -> None:
    """Where all vectors are one of two, none of them is beyond the threshold, however it rounds."""
    two = np.random.default_rng(2).normal(size=(2, 16))
    rows = two[np.arange(60) % 2]
    alarm = StateAlarm({"text": density_of(rows, rows[:40])})
    states = torch.from_numpy(rows).float()
    encoded = {"text": Encoded(states[:, None], states, torch.ones(60, 1, dtype=torch.bool))}
    assert (alarm(encoded, torch.ones(60, 1, dtype=torch.bool)) <= 1.0).all()


def test_the_last_modality_is_kept_whatever_the_alarm() -> None:
    """A modality beyond its threshold is not trusted where another one is; with none left all stay."""
    present = torch.tensor([[True, True], [True, True], [True, False]])
    shares = torch.tensor([[1.5, 0.5], [1.5, 2.0], [3.0, 0.0]])
    assert trusted_in(present, shares).tolist() == [[False, True], [True, True], [True, False]]


def test_encodings_that_are_no_numbers_cost_the_alarm_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A modality with a NaN or with what squares to infinity has no alarm; the run ends with its scores."""
    inner, wrong = fit_alarm._pooled, iter([np.nan, 1e30])

    def pooled(*given: Any) -> dict[str, Any]:
        rows = inner(*given)
        number = next(wrong, 1.0)
        return {m: np.concatenate([each] * 4 + [np.full((1, each.shape[1]), number)]) for m, each in rows.items()}

    monkeypatch.setattr(fit_alarm, "_pooled", pooled)
    run = train_run(tmp_path)
    assert run.scores().samples
    assert load_file(run.folder / ALARM) == {}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run of three modalities."""
    return train_run(tmp_path_factory.mktemp("alarmed"))


def alarmed(run: ew.Run, folder: Path) -> Path:
    """A copy of the run whose audio is beyond its threshold whatever it is."""
    shutil.copytree(run.folder, folder)
    width = run.predictor.model.widths["audio"]
    far = Density(torch.full((width,), 1e6), torch.eye(width), torch.tensor(1.0))
    others = {name: tensor for name, tensor in load_file(folder / ALARM).items() if not name.startswith("audio.")}
    tensors = others | {f"audio.{name}": tensor for name, tensor in far._asdict().items()}
    save_file(tensors, folder / ALARM, {"weights_sha256": _sha(run)})
    return folder


def _sha(run: ew.Run) -> str:
    return read_model_file(run.folder).weights_sha256


def arrays(run: ew.Run, *modalities: str) -> dict[str, np.ndarray]:
    """One sample with these modalities."""
    widths = run.predictor.model.features
    return {m: np.random.default_rng(1).normal(size=(5, widths[m])).astype(np.float32) for m in modalities}


def test_a_dropped_modality_is_a_missing_one(run: ew.Run, tmp_path: Path) -> None:
    """With "drop" the answer is that without the modality, to the digit; "warn" says it and reads it."""
    folder, every = alarmed(run, tmp_path / "run"), arrays(run, "text", "audio", "visual")
    without = run.predict(**{m: x for m, x in every.items() if m != "audio"})
    warned, dropped, ignored = (
        ew.open_run(folder, registry=run.registry, on_alarm=kind).predict(**every)
        for kind in ("warn", "drop", "ignore")
    )
    assert dropped.probabilities == pytest.approx(without.probabilities, abs=1e-6)
    assert (dropped.present, set(dropped.alarms)) == (("text", "visual"), {"audio"})
    assert warned.probabilities == ignored.probabilities == run.predict(**every).probabilities
    assert (warned.present, set(warned.alarms), ignored.alarms) == (("text", "audio", "visual"), {"audio"}, {})
    row = answer_of_sample("given", dropped, ("text", "audio", "visual"))
    assert row.missing == {"audio": "it is unlike those of the training, and read as missing"}
    alone = ew.open_run(folder, registry=run.registry, on_alarm="drop").predict(**arrays(run, "audio"))
    assert (alone.present, set(alone.alarms)) == (("audio",), {"audio"})


def test_scores_and_protocols_read_it_as_missing_and_leave_the_run_as_it_is(run: ew.Run, tmp_path: Path) -> None:
    """Every configuration scores as the one without audio, and audio under any noise as without it."""
    folder = alarmed(run, tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    opened = ew.open_run(folder, registry=run.registry, on_alarm="drop")
    scores, clean = opened.evaluate(), run.scores()
    assert scores["text+audio"].macro_f1 == clean["text"].macro_f1
    assert scores["text+audio+visual"].macro_f1 == clean["text+visual"].macro_f1
    assert scores["audio"].macro_f1 == clean["audio"].macro_f1
    noise = opened.robustness("noise")
    assert noise.curves["audio"].score == [clean["text+visual"].macro_f1] * len(noise.curves["audio"].levels)
    assert before == {path: path.read_bytes() for path in before}
    assert not (folder / "protocols").exists()


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run in which half of the test samples are beyond the threshold of their audio, and some have none."""
    folder = tmp_path_factory.mktemp("half")
    (folder / "data").mkdir()
    recipe = small(encoder={"name": "mean", "width": 8}, training={"epochs": 4}, objective={"kind": "single"})
    start(recipe, write_dataset(folder / "data", videos=120), folder / "run")
    run = ew.open_run(folder / "run")
    shares = [float(row["alarm(audio)"] or "nan") for row in rows_of(run)]
    tensors = load_file(run.folder / ALARM)
    tensors["audio.threshold"] *= float(np.nanmedian(shares))
    save_file(tensors, run.folder / ALARM, {"weights_sha256": _sha(run)})
    return run


def rows_of(run: ew.Run) -> list[dict[str, str]]:
    """The rows of predictions.csv of the complete configuration."""
    with (run.folder / "predictions.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["configuration"] == "text+audio+visual"]


def test_what_dropping_would_do_is_what_it_does(half: ew.Run) -> None:
    """The scores that a run that warns foresees are those of the same run that drops, in every configuration."""
    warned, dropped, ignored = (
        ew.open_run(half.folder, on_alarm=kind).evaluate() for kind in ("warn", "drop", "ignore")
    )
    assert warned.alarms is not None
    assert dropped.alarms is not None
    assert warned.alarms.dropped == {name: one.score for name, one in dropped.configurations.items()}
    assert warned.alarms.dropped != {name: one.score for name, one in warned.configurations.items()}
    assert (dropped.alarms.on_alarm, dropped.alarms.dropped) == ("drop", {})
    assert dropped.alarms.modalities == warned.alarms.modalities
    assert ignored.alarms is None
    assert ignored.abstention


@pytest.mark.parametrize("on_alarm", ["warn", "drop"])
def test_predictions_carry_what_predict_says(half: ew.Run, tmp_path: Path, on_alarm: str) -> None:
    """Confidence, alarms and, at every risk, whether it is decided are in predictions.csv as `predict` has them.

    So are the counts of scores.json, the explanation of a sample and the page.
    """
    folder = Path(shutil.copytree(half.folder, tmp_path / "run"))
    model = json.loads((folder / "model.json").read_text())
    model["recipe"]["model"]["on_alarm"] = on_alarm  # of the recipe, for else nothing is written
    (folder / "model.json").write_text(json.dumps(model))
    run = ew.open_run(folder)
    scores, rows, raised = run.evaluate(), rows_of(run), dict.fromkeys(["text", "audio", "visual"], 0)
    data = str(read_data_folder(folder))
    answers = {one.id: one for one in run.predict(data)}
    for row in rows:
        told = answers[row["id"]]
        assert float(row["confidence"]) == pytest.approx(told.confidence, abs=1e-5)
        shares = {m: float(row[f"alarm({m})"]) for m in raised if row[f"alarm({m})"]}
        assert {m: share for m, share in shares.items() if share > 1} == pytest.approx(told.alarms, abs=1e-4)
        raised |= {m: raised[m] + 1 for m in told.alarms}
    assert scores.alarms is not None
    assert {m: one.raised for m, one in scores.alarms.modalities.items()} == raised
    assert 0 < raised["audio"] < scores.alarms.modalities["audio"].samples < len(rows)
    for risk in (0.0, 0.1, 0.3, 0.5, 0.8):
        kept = {one.id: one for one in run.selective(risk).predict(data)}
        abstained = [row["id"] for row in rows if not float(row["risk"] or "inf") <= risk]
        assert abstained == [row["id"] for row in rows if kept[row["id"]].abstained]
    for one in scores.abstention:
        decided = [row for row in rows if float(row["risk"] or "inf") <= one.max_risk]
        assert (one.decided, one.wrong) == (len(decided), sum(row["truth"] != row["predicted"] for row in decided))
    highest = next(iter(scores.alarms.modalities["audio"].highest))
    explained = run.explain(sample=highest).sample
    assert explained.confidence == pytest.approx(answers[highest].confidence, abs=1e-5)
    assert explained.alarms == pytest.approx(answers[highest].alarms, abs=1e-4)
    section = (folder / "report.html").read_text().partition("Signals that lie</h2>")[2].partition("</section>")[0]
    assert all(sample in section for one in scores.alarms.modalities.values() for sample in one.highest)


def test_explanations_read_it_as_missing(run: ew.Run, tmp_path: Path) -> None:
    """The answer of every configuration is that of the one without the dropped modality."""
    dropping = ew.open_run(alarmed(run, tmp_path / "run"), registry=run.registry, on_alarm="drop")
    with (run.folder / "predictions.csv").open(newline="") as file:
        sample = next(csv.DictReader(file))["id"]
    answers, plain = (
        {name: one["probabilities"] for name, one in opened.explain(sample=sample).to_dict()["configurations"].items()}
        for opened in (dropping, run)
    )
    assert answers["text+audio"] == pytest.approx(plain["text"])
    assert answers["text+audio+visual"] == pytest.approx(plain["text+visual"])
    assert plain["text+audio+visual"] != pytest.approx(plain["text+visual"])


def test_a_damaged_or_foreign_alarm_is_told(run: ew.Run, tmp_path: Path) -> None:
    """One of other shapes is refused by name; of other weights there is none, and nothing can be dropped."""
    folder = alarmed(run, tmp_path / "run")
    tensors = load_file(folder / ALARM)
    for wrong in (
        tensors | {"audio.mean": torch.zeros(2)},
        tensors | {"audio.threshold": torch.tensor(0.0)},
        tensors | {"audio.whitening": tensors["audio.whitening"] * torch.nan},
        tensors | {"smell.mean": torch.zeros(2)},
        {name: tensor for name, tensor in tensors.items() if name != "audio.mean"},
    ):
        save_file(wrong, folder / ALARM, {"weights_sha256": _sha(run)})
        with pytest.raises(DataError, match=r"alarm\.safetensors is damaged"):
            ew.open_run(folder, registry=run.registry).predict(**arrays(run, "text"))
    with (folder / ALARM).open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(DataError, match=r"alarm\.safetensors .*it has more than \d+ bytes"):
        ew.open_run(folder, registry=run.registry).predict(**arrays(run, "text"))
    (folder / ALARM).write_bytes((run.folder / ALARM).read_bytes()[:100])
    with pytest.raises(DataError, match="Remove it, and the run answers without alarms"):
        ew.open_run(folder, registry=run.registry).predict(**arrays(run, "text"))
    save_file(tensors, folder / ALARM, {"weights_sha256": "another"})
    every = arrays(run, "text", "audio")
    assert ew.open_run(folder, registry=run.registry).predict(**every).alarms == {}
    with pytest.raises(SettingsError, match="has no alarms"):
        ew.open_run(folder, registry=run.registry, on_alarm="drop").predict(**every)


@pytest.mark.parametrize("size", [3e38, 1e30, torch.nan])
def test_what_is_too_far_for_a_number_is_an_alarm(size: float) -> None:
    """A distance that float32 does not hold, or that is none, is a finite share beyond the threshold."""
    alarm = StateAlarm({"audio": Density(torch.zeros(2), torch.eye(2), torch.tensor(1e-30))})
    one = Encoded(torch.zeros(1, 1, 2), torch.tensor([[size, -size]]), torch.ones(1, 1, dtype=torch.bool))
    share = alarm({"audio": one}, torch.ones(1, 1, dtype=torch.bool))
    assert share.isfinite().all()
    assert share > 1.0
    assert not trusted_in(torch.ones(1, 2, dtype=torch.bool), torch.cat([share, share * 0], dim=1))[0, 0]


def test_the_command_line_says_which_modality_rings(
    run: ew.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A column of the table names the modalities with an alarm; the file of answers has how far each is."""
    folder, cli = alarmed(run, tmp_path / "run"), typed_commands(capfd)
    given = ("predict", folder, read_data_folder(run.folder), "--registry", run.folder.parent / "registry.toml")
    table = cli(*given).out.splitlines()
    assert table[0].split()[-1] == "alarm"
    assert table[1].split()[-1] == "audio"
    assert cli(*given, "--out", tmp_path / "a.csv").code == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        assert all(row["alarms"].startswith("audio ") for row in csv.DictReader(file))
