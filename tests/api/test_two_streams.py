"""A data set whose audio is two files of different rates and widths, from training to prediction."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from datasets import write_two_streams
from training import CPU, REGISTRY
from typed_commands import typed_commands

import emotiwave as ew
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import DataSettings
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.evaluate.corruptions import find_corruption
from emotiwave_core.evaluate.manifest import draw_manifest
from emotiwave_core.evaluate.predict_corrupted import predict_corrupted
from emotiwave_core.evaluate.protocol import samples_of
from emotiwave_core.monitor import SILENT
from emotiwave_core.predict.trained import open_trained_run
from emotiwave_core.runs.explanation import SampleDetails
from emotiwave_core.runs.saved_model import load_model

STREAMS = {"text": 5, "audio/frames": 4, "audio/clip": 6, "visual": 3}
FILES = {"text": "text", "audio/frames": "audio", "audio/clip": "clip", "visual": "visual"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set."""
    return write_two_streams(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run on it, with an encoder of its own for the clips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])
        return ew.train(
            ew.load_dataset(data),
            out=tmp_path_factory.mktemp("streams") / "run",
            device="cpu",
            encoder={"*": "bilstm:hidden_size=4", "audio/clip": "mean:width=5"},
            fusion={"name": "crossmodal", "width": 8, "heads": 2, "layers": 1},
            model={"head": 8},
            data={"max_steps": {"audio": 7, "audio/clip": 2}},
            objective={"unimodal": 0.1},
            training={"epochs": 2, "batch_size": 8, "learning_rate": 1e-2},
        )


def rows_of(run: ew.Run, configuration: str) -> list[dict[str, str]]:
    """The rows of predictions.csv of one configuration."""
    with (run.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["configuration"] == configuration]


def arrays_of(data: Path, row: dict[str, str]) -> dict[str, Any]:
    """What the files hold of a sample, by plain h5py."""
    video, start, end = row["id"].partition("[")[0], float(row["start"]), float(row["end"])
    arrays: dict[str, Any] = {}
    for stream, name in FILES.items():
        with h5py.File(data / f"{name}.csd") as file:
            if video in (entries := file["anything/data"]):
                middle = entries[video]["intervals"][:].mean(axis=1)
                arrays[stream] = entries[video]["features"][:][(middle >= start) & (middle < end)]
    return arrays


@pytest.mark.full
def test_what_can_be_absent_is_a_modality(run: ew.Run) -> None:
    """Scores and configurations are of three modalities, features, steps, encoders and facts of four streams."""
    assert run.scores().modalities == ["text", "audio", "visual"]
    assert len(run.scores().configurations) == 7
    model = json.loads((run.folder / "model.json").read_text())
    assert model["features"] == STREAMS
    assert model["steps"] == {"audio/frames": 7, "audio/clip": 2}
    encoders = {part["modality"]: part["name"] for part in model["plugins"] if part["kind"] == "encoder"}
    assert encoders == {"text": "bilstm", "audio/frames": "bilstm", "audio/clip": "mean", "visual": "bilstm"}
    facts = json.loads((run.folder / "data.json").read_text())["modalities"]
    assert {name: one["file"] for name, one in facts.items()} == {s: f"{name}.csd" for s, name in FILES.items()}


def test_a_run_rebuilds_and_scores_alike(run: ew.Run) -> None:
    """model.json is enough to build the model again, and the scores are those of the training's end."""
    loaded = load_model(run.folder, REGISTRY).model
    assert loaded.streams == tuple(STREAMS)
    assert loaded.modalities == ("text", "audio", "visual")
    before = run.scores().to_dict()
    assert ew.open_run(run.folder, device="cpu").evaluate().to_dict() == before


def test_a_sample_that_lacks_a_stream_is_predicted(run: ew.Run, data: Path) -> None:
    """With one stream, the other or both its arrays give the numbers of predictions.csv; with none, audio is absent."""
    rows = rows_of(run, "text+audio+visual")
    assert {"v20", "v21", "v22"} <= {row["id"].partition("[")[0] for row in rows}
    for row in rows:
        sample = arrays_of(data, row)
        one = run.predict(**sample)
        assert ("audio" in one.present) == bool({"audio/frames", "audio/clip"} & set(sample))
        due = {name.removeprefix("p(")[:-1]: float(p) for name, p in row.items() if name.startswith("p(")}
        assert one.probabilities == pytest.approx(due, abs=2e-6)
    with pytest.raises(ew.SettingsError, match=r"the modality 'audio'.*audio/frames"):
        run.predict(audio=np.zeros((3, 4)))


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("protocol", ["random", "swap"])
def test_what_is_lost_or_lent_whole_is_so_of_all_streams(run: ew.Run, protocol: str) -> None:
    """At every level the model says what it says of each sample rebuilt from the manifest, and counts so."""
    trained = open_trained_run(run.folder, REGISTRY, SILENT)
    manifest = draw_manifest(find_corruption(protocol), samples_of(trained), 0)
    answers = predict_corrupted(trained, manifest, Runtime(CPU))
    store, fold = trained.corpus.store, trained.fold
    assert manifest.since["audio/frames"] == manifest.since["audio/clip"]
    for curve, modalities in find_corruption(protocol).curves_for(trained.model.modalities).items():
        for level in range(len(manifest.levels)):
            here = np.zeros((len(fold.rows), 3), dtype=bool)
            for n, row in enumerate(fold.rows):
                inputs, masks = {}, {}
                for stream, width in STREAMS.items():
                    since = manifest.since[stream][n]
                    is_hit = stream.partition("/")[0] in modalities and since != "-" and int(since) <= level
                    lender = manifest.partners[stream][n] if is_hit and protocol == "swap" else None
                    x = store.sequence(stream, store.ids.index(lender) if lender else int(row))
                    x = x if len(x) and not (is_hit and protocol == "random") else torch.full((1, width), torch.nan)
                    inputs[stream], masks[stream] = x[None], torch.full((1, len(x)), not bool(x.isnan().all()))
                with torch.inference_mode():
                    output = trained.model(inputs, masks)
                due = trained.objective.answers(output.logits)[0]
                np.testing.assert_allclose(answers.answers[curve][level][n], due, atol=5e-6)
                here[n] = output.present[0]
            if protocol == "random":
                assert answers.reached[curve][level] == pytest.approx(1.0 - here.mean())


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("protocol", ["frames", "noise", "shift"])
def test_steps_are_damaged_stream_by_stream(run: ew.Run, protocol: str) -> None:
    """A curve for each modality; level 0 is the complete score; the manifest has a table for each stream."""
    scores = run.robustness(protocol)
    assert set(scores.curves) - {"text+audio+visual"} == {"text", "audio", "visual"}
    for curve in scores.curves.values():
        assert curve.score[0] == pytest.approx(run.scores().complete.score)
    manifest = json.loads((run.folder / "protocols" / f"{protocol}.manifest.json").read_text())
    assert manifest["modalities"] == list(STREAMS)


def test_an_explanation_is_of_modalities_and_its_moments_of_streams(
    run: ew.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Shapley values are of three modalities; a window is of one stream, and the page shows both of audio."""
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    answer = typed_commands(capfd)("explain", folder)
    assert answer.code == 0, answer.err
    explanation = json.loads((folder / "explanation.json").read_text())
    assert explanation["modalities"] == ["text", "audio", "visual"]
    assert set(explanation["absent"]) == {"v19[0]", "v19[1]", "v22[0]", "v22[1]"}
    details = run.explain("v23[0]")
    assert isinstance(details, SampleDetails)
    assert {stream: len(windows) for stream, windows in details.sample.moments.items()} == {
        "text": 4,
        "audio/frames": 7,
        "audio/clip": 1,
        "visual": 6,
    }
    assert "audio/clip" in (folder / "report.html").read_text()


def test_a_data_set_without_one_of_the_streams_is_scored(run: ew.Run, data: Path, tmp_path: Path) -> None:
    """Where a file is lacking its stream is absent in every sample, and all configurations are there still."""
    for file in data.iterdir():
        shutil.copy(file, tmp_path)
    text = (data / "dataset.toml").read_text()
    (tmp_path / "dataset.toml").write_text(text.replace(', clip = "clip.csd"', ""))
    scores = run.evaluate(tmp_path)
    assert scores.modalities == ["text", "audio", "visual"]
    trained = open_trained_run(run.folder, REGISTRY, SILENT, data=tmp_path)
    assert any("'audio/clip', which is absent in every sample" in note for note in trained.notes)


def test_complete_samples_have_every_modality(data: Path) -> None:
    """A sample with one of the streams of audio has audio; one with none has not."""
    store = open_corpus(data, DataSettings(complete_only=True)).store
    assert {"v20[0]", "v21[0]", "v23[0]"} <= set(store.ids)
    assert not {"v19[0]", "v22[0]"} & set(store.ids)
    assert store.modalities == ("text", "audio", "visual")
    assert store.has("audio").all()
    assert not store.has("audio/clip").all()


def test_streams_are_handed_over_in_python(tmp_path: Path, own_cache: Path) -> None:
    """`ew.dataset` takes a stream by its name, and writes a data set whose dataset.toml says the same."""
    random = np.random.default_rng(0)
    frames, clips = [random.normal(size=(4, 3)) for _ in range(6)], [random.normal(size=2) for _ in range(6)]
    made = ew.dataset(features={"audio/frames": frames, "audio/clip": clips}, labels=list("ababab"))
    assert list(made.modalities) == ["audio/frames", "audio/clip"]
    store = open_corpus(made.folder, DataSettings()).store
    assert store.features == {"audio/frames": 3, "audio/clip": 2}
    assert store.modalities == ("audio",)
    with pytest.raises(ew.DataError, match="also a modality of several"):
        ew.dataset(features={"audio": frames, "audio/clip": clips}, labels=list("ababab"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"audio/clip" = "clip.csd"', "names without '\\+' and '/'"),
        ('audio = {frames = "audio.csd", clip = "no.csd"}', "'modalities.audio.clip' names .*no.csd, which is not"),
        ('audio = {frames = "audio.csd", clip = 3}', "'modalities.audio.clip' is 3, not a text"),
        ('audio = {frames = "audio.csd", "a+b" = "clip.csd"}', r"'audio/a\+b' is no name"),
        ('audio = {file = "audio.csd", clip = "clip.csd"}', "unknown key 'modalities.audio.clip'"),
    ],
)
def test_a_table_that_cannot_be_is_refused(line: str, reason: str, data: Path, tmp_path: Path) -> None:
    """Each with the file, the key and the reason."""
    for file in data.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "dataset.toml").write_text(f'[modalities]\n{line}\n[labels]\nfile = "labels.csd"\n')
    with pytest.raises(ew.DataError, match=reason):
        ew.load_dataset(tmp_path)


def test_an_encoder_of_no_stream_is_refused(data: Path, tmp_path: Path) -> None:
    """The message lists modalities and streams."""
    with pytest.raises(ew.SettingsError, match=r"'audio/clap'.*: text, audio, visual, audio/frames, audio/clip"):
        ew.train(ew.load_dataset(data), out=tmp_path / "run", device="cpu", encoder={"*": "mean", "audio/clap": "mean"})
