"""An export answers as its run does, says all that a caller must know, and is whole or not there."""

import hashlib
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from documents import block, text_of
from exported_run import ExportedRun
from torch import nn
from torch._decomp import decomposition_table

import emotiwave as ew
from emotiwave_core.cli import exit_code_of
from emotiwave_core.export import exporting, onnx_file
from emotiwave_core.export.onnx_file import OnnxModel
from emotiwave_core.export.recurrence import SIZES, recurrences_kept
from emotiwave_core.runs.export_manifest import read_manifest

RANDOM = np.random.default_rng(3)
GUIDE = text_of("docs/export.md")


def feed_of(manifest: Any, samples: list[Mapping[str, Any]], content: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Samples as a batch, by the manifest alone: absent modalities and padding hold `content`."""
    inputs, masks = {}, {}
    for stream in manifest.streams:
        given = [sample.get(stream.stream) for sample in samples]
        lengths = [0 if x is None else len(x) for x in given]
        x = torch.full((len(samples), max(1, *lengths), stream.width), content)
        for row, features in enumerate(given):
            if features is not None:
                x[row, : len(features)] = torch.from_numpy(features)
        inputs[stream.stream] = x
        masks[stream.stream] = torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]
    return inputs, masks


def test_onnx_answers_as_the_run_does(exported: ExportedRun) -> None:
    """In every configuration, of any length and batch, with NaN where nothing is, to 1e-5; also without anything."""
    manifest, widths = exported.manifest, {stream.stream: stream.width for stream in exported.manifest.streams}
    model = OnnxModel((exported.folder / manifest.file).read_bytes(), list(widths))
    some = [subset for size in (1, 2) for subset in itertools.combinations(widths, size)]
    samples = [
        {
            name: RANDOM.normal(size=(steps + 3 * place, widths[name])).astype(np.float32)
            for place, name in enumerate(subset)
        }
        for steps in (1, 2, 95)
        for subset in some
    ]
    expected = [list(answer.probabilities.values()) for answer in exported.run.predict(samples)]
    _, together = model(*feed_of(manifest, samples, torch.nan))
    assert np.abs(together - expected).max() < 1e-5
    for sample, answer in zip(samples, expected, strict=True):
        assert np.abs(model(*feed_of(manifest, [sample], 7.0))[1] - answer).max() < 1e-5
    dirty = [{"text": np.array([[np.nan, np.inf, -np.inf, 1.0, 2.0]], dtype=np.float32)}]
    expected = list(exported.run.predict(dirty)[0].probabilities.values())
    assert np.abs(model(*feed_of(manifest, dirty, 0.0))[1] - expected).max() < 1e-5
    assert np.isfinite(model(*feed_of(manifest, [{}], torch.nan))[1]).all()


def test_the_manifest_says_what_goes_in_and_what_comes_out(exported: ExportedRun) -> None:
    """Names, widths, thresholds, hash and provenance are those of the file and of the run; no path of this machine."""
    manifest = read_manifest(exported.folder)
    assert manifest == exported.manifest
    content = (exported.folder / "model.onnx").read_bytes()
    assert (manifest.sha256, manifest.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    model = json.loads((exported.run.folder / "model.json").read_text())
    assert manifest.thresholds == model["thresholds"]
    assert manifest.classes == model["classes"]
    assert manifest.source.weights_sha256 == model["weights_sha256"]
    session = OnnxModel(content, ["text", "audio"]).session
    shapes = {each.name: each.shape for each in session.get_inputs()}
    assert shapes == {
        name: shape
        for stream in manifest.streams
        for name, shape in (
            (stream.features, ["batch", f"{stream.stream}.steps", stream.width]),
            (stream.mask, ["batch", f"{stream.stream}.steps"]),
        )
    }
    assert {each.name: each.shape for each in session.get_outputs()} == {
        name: ["batch", 6] for name in manifest.outputs
    }
    assert (manifest.compared.data, manifest.compared.samples, manifest.compared.configurations) == ("test fold", 12, 3)
    assert manifest.compared.largest_difference < 1e-5
    for secret in (str(exported.data.parent), str(Path(onnx_file.__file__).parents[1])):
        assert secret.encode() not in content
        assert secret not in (exported.folder / "manifest.json").read_text()


def test_a_program_without_emotiwave_has_the_same_answers(exported: ExportedRun, tmp_path: Path) -> None:
    """The consumer of the guide, as it stands, needs onnxruntime and numpy alone, and decides as the run does."""
    (tmp_path / "consumer.py").write_text(block(GUIDE, "# consumer.py"))
    command = [sys.executable, str(tmp_path / "consumer.py")]
    check_consumer(exported, tmp_path, command)
    assert "emotiwave" not in block(GUIDE, "# consumer.py")


@pytest.mark.slow
def test_a_program_in_javascript_has_the_same_answers(exported: ExportedRun, tmp_path: Path) -> None:
    """The consumer of the guide for Node, as it stands."""
    (tmp_path / "consumer.mjs").write_text(block(GUIDE, "// consumer.mjs"))
    install = ["npm", "install", "--ignore-scripts", "--no-fund", "--no-audit", "onnxruntime-node"]
    try:
        done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no npm, or no answer of its registry: {error}")
    if done.returncode:
        pytest.skip(f"npm has no onnxruntime-node here: {done.stderr[-200:]}")
    check_consumer(exported, tmp_path, ["node", str(tmp_path / "consumer.mjs")])


def check_consumer(exported: ExportedRun, folder: Path, command: list[str]) -> None:
    """A consumer's answers to a sample with both modalities, and to one without one of them."""
    text, audio = RANDOM.normal(size=(4, 5)), RANDOM.normal(size=(400, 4))  # more than max_steps
    for sample in ({"text": text, "audio": audio}, {"text": text, "audio": None}):
        lists = {name: None if x is None else x.tolist() for name, x in sample.items()}
        (folder / "sample.json").write_text(json.dumps(lists))
        done = subprocess.run(
            [*command, str(exported.folder), str(folder / "sample.json")], capture_output=True, text=True, check=True
        )
        said, expected = json.loads(done.stdout), exported.run.predict(**sample)
        assert said["answers"] == pytest.approx(expected.probabilities, abs=1e-5)
        assert tuple(said["decided"]) == expected.decided


@pytest.mark.full
def test_int8_is_smaller_and_near(exported: ExportedRun) -> None:
    """Weights of a recurrence are quantised, and the file answers on its own."""
    content = (exported.folder / "model.onnx").read_bytes()
    small = onnx_file.quantised(content)
    assert small.count(b"DynamicQuantizeLSTM") >= 2
    streams = [stream.stream for stream in exported.manifest.streams]
    sample = {"text": RANDOM.normal(size=(4, 5)).astype(np.float32)}
    feed = feed_of(exported.manifest, [sample], 0.0)
    difference = np.abs(OnnxModel(small, streams)(*feed)[1] - OnnxModel(content, streams)(*feed)[1]).max()
    assert 0 < difference < 0.05


def test_nothing_is_written_where_it_cannot_be(
    exported: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of other files, a format without int8, a missing package, another answer: one sentence each."""

    def refused(code: int, *arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert exit_code_of(["export", str(exported.run.folder), *arguments]) == code
        assert sorted(tmp_path.rglob("*")) == before
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.strip().splitlines()) == 1, said.err
        return said.err

    out = ["--out", str(tmp_path / "out")]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    assert "holds no export: choose another --out" in refused(2, "--out", str(tmp_path / "other"))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text('{"name": "a page"}')
    assert "holds no export: choose another --out" in refused(2, "--out", str(tmp_path / "app"))
    assert "is for --to onnx" in refused(2, "--to", "torch-export", "--quantise", "int8", *out)
    found = exporting._File(b"", lambda inputs, masks: (np.ones((1, 6)), np.ones((1, 6))), {})
    monkeypatch.setattr(exporting, "_made", lambda *_: (found, found))
    assert "differ from the run's" in refused(4, *out)
    monkeypatch.setattr(onnx_file, "PACKAGES", ("onnx", "no_such_package"))
    assert 'needs no_such_package, not installed here: pip install "emotiwave[onnx]"' in refused(4, *out)


def test_an_export_is_written_anew_and_the_command_says_what_it_is(
    exported: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over an earlier export, also a torn one; where the data are gone it is compared on generated features."""
    content = (exported.folder / "model.onnx").read_bytes()
    file = exporting._File(content, OnnxModel(content, ["text", "audio"]), {"torch": "x"})
    monkeypatch.setattr(exporting, "_made", lambda *_: (file, file))
    out = tmp_path / "out"
    for _ in range(2):
        assert exit_code_of(["export", str(exported.run.folder), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.count(f"{out / 'model.onnx'}: 0.0") == 2
    assert said.out.count("12 samples of test fold, 3 configurations") == 2
    (out / "model.onnx").unlink()
    (out / ".model.onnx.abcdefgh.part").touch()
    monkeypatch.setattr(exporting, "_open_fold", lambda *_: None)
    assert exit_code_of(["export", str(exported.run.folder), "--out", str(out), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["compared"]["data"] == "generated features"
    assert table["compared"]["largest_difference"] < 1e-5
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "model.onnx"]


def test_a_training_that_has_not_ended_is_not_exported(exported: ExportedRun, tmp_path: Path) -> None:
    """The way to its end is named."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("recipe.toml", "model.json", "model.safetensors", "data.json"):
        (run / name).write_bytes((exported.run.folder / name).read_bytes())
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "trained": False}))
    with pytest.raises(ew.SettingsError, match="has not ended: emotiwave run --resume"):
        ew.open_run(run).export()
    assert not (tmp_path / "run-onnx").exists()


@pytest.mark.full
def test_a_part_that_reads_values_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder whose code depends on what is in a mask ends the export with a sentence that names the parts."""
    from models import some_model

    from emotiwave_core.export.graph import trace
    from emotiwave_core.objectives.single import SingleLabel

    class Reads(nn.Module):
        out_features = 4

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> Any:
            return x if bool(mask.any()) else -x

    model = some_model(encoder={"name": "mean", "width": 4})
    model.encoders["text"] = Reads()
    with pytest.raises(ew.PluginError, match=r"cannot be exported \(encoder mean, fusion concat\)"):
        trace(model, SingleLabel(tuple("abcdef")))


def test_torch_is_left_as_it_was() -> None:
    """The kernels that a trace is told of are torch's own again afterwards, also after an error."""
    before = {operator: (decomposition_table[operator], dict(operator.py_kernels)) for operator in SIZES}
    with pytest.raises(ZeroDivisionError), recurrences_kept():
        raise ZeroDivisionError
    assert before == {operator: (decomposition_table[operator], dict(operator.py_kernels)) for operator in SIZES}


def test_a_manifest_is_checked_as_it_is_read(exported: ExportedRun, tmp_path: Path) -> None:
    """A damaged one is refused with the key, and none at all with the command that writes one."""
    table = {**attrs.asdict(exported.manifest), "bytes": "many"}
    (tmp_path / "manifest.json").write_text(json.dumps(table))
    with pytest.raises(ew.DataError, match="'bytes' is wrong: int expected; export the run again"):
        read_manifest(tmp_path)
    with pytest.raises(ew.DataError, match="holds no export"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.full
def test_an_export_knows_no_alarms_and_says_so(
    exported: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that reads a modality as missing for an alarm is exported as one that reads it, which is told."""
    run = Path(shutil.copytree(exported.run.folder, tmp_path / "run"))
    model = json.loads((run / "model.json").read_text())
    model["recipe"]["model"]["on_alarm"] = "drop"
    (run / "model.json").write_text(json.dumps(model))
    content = (exported.folder / "model.onnx").read_bytes()
    file = exporting._File(content, OnnxModel(content, ["text", "audio"]), {"torch": "x"})
    monkeypatch.setattr(exporting, "_made", lambda *_: (file, file))
    assert exit_code_of(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    assert "an export knows no alarms" in capsys.readouterr().err
