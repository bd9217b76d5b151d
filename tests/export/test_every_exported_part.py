"""Every part and recipe that ships is exported: to ONNX and to torch.export, with the same numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import write_numbers, write_two_streams
from documents import ENTRIES
from models import some_model

import emotiwave as ew
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.export import onnx_file
from emotiwave_core.export.compare import compare_generated
from emotiwave_core.export.graph import trace, trace_of_any_length
from emotiwave_core.export.torch_file import TorchModel, to_torch_file
from emotiwave_core.objectives.single import SingleLabel

pytestmark = pytest.mark.slow
CLASSES = SingleLabel(tuple("abcdef"))
ENCODERS = [name.removeprefix("encoder.") for name in ENTRIES if name.startswith("encoder.")]
ENCODERS.remove("hashed")  # it reads words, and is refused
FUSIONS = [name.removeprefix("fusion.") for name in ENTRIES if name.startswith("fusion.")]
MODELS: dict[str, dict[str, Any]] = {
    **{name: {"encoder": {"name": name}} for name in ENCODERS},
    **{f"{name}, last": {"encoder": {"name": name, "pooling": "last", "layers": 2}} for name in ("bilstm", "bigru")},
    **{f"{name}, attention": {"encoder": {"name": name, "pooling": "attention"}} for name in ("bilstm", "tcn")},
    "s4d, one way": {"encoder": {"name": "s4d", "bidirectional": False, "pooling": "max"}},
    "transformer, learned": {"encoder": {"name": "transformer", "positions": "learned"}},
    **{
        f"{name}, {missing}": {"encoder": {"name": "mean", "width": 8}, "fusion": {"name": name, "missing": missing}}
        for name in FUSIONS
        if name not in ("experts", "context")  # one has no stand-ins, the other is refused
        for missing in ("zero", "learned")
    },
    "experts": {"encoder": {"name": "mean", "width": 8}, "fusion": {"name": "experts", "hidden_size": 4}},
    "absent as zeros": {"model": {"absent": "zeros", "standardise": False}},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_part_is_exported(name: str) -> None:
    """In every configuration and of several sizes, one step among them, both files answer as the model to 1e-5."""
    model = some_model(**MODELS[name])
    content = onnx_file.to_onnx(trace(model, CLASSES), model.streams, ["logits", "probabilities"])
    found = compare_generated(onnx_file.OnnxModel(content, model.streams), model, CLASSES)
    assert found.configurations == 8
    assert found.largest_difference < 1e-5
    content = to_torch_file(trace_of_any_length(model, CLASSES))
    assert compare_generated(TorchModel(content), model, CLASSES).largest_difference < 1e-5


def train(data: Path, out: Path, recipe: Any = "default", **settings: Any) -> ew.Run:
    """A run of one epoch, without pictures."""
    training = {"epochs": 1, "batch_size": 8}
    return ew.train(data, recipe, out=out, device="cpu", training=training, **settings)


@pytest.mark.parametrize("recipe", list(ew.recipes()))
def test_every_recipe_is_exported(tiny: Path, tmp_path: Path, recipe: str) -> None:
    """On a real fold in all seven configurations to 1e-5, whole as the recipe is."""
    manifest = train(tiny, tmp_path / "run", recipe).export().manifest
    assert (manifest.compared.data, manifest.compared.configurations) == ("test fold", 7)
    assert manifest.compared.largest_difference < 1e-5
    assert manifest.source.recipe == Recipe.from_table(ew.recipes()[recipe], recipe).name


def test_streams_numbers_and_torch_are_exported(tmp_path: Path) -> None:
    """A modality of two streams has two inputs, numbers come in the unit of their labels, int8 costs what is said."""
    (tmp_path / "two").mkdir()
    two = train(write_two_streams(tmp_path / "two"), tmp_path / "streams")
    manifest = two.export().manifest
    masks_of_audio = [each.mask for each in manifest.streams if each.modality == "audio"]
    assert masks_of_audio == ["audio/frames.mask", "audio/clip.mask"]
    assert manifest.compared.largest_difference < 1e-5
    (tmp_path / "numbers").mkdir()
    run = train(write_numbers(tmp_path / "numbers"), tmp_path / "run", encoder="conformer")
    for to in ("onnx", "torch-export"):
        manifest = run.export(to).manifest  # type: ignore[arg-type]
        assert manifest.outputs == ["logits", "numbers"]
        assert manifest.compared.largest_difference < 1e-5
    program = torch.export.load(tmp_path / "run-torch-export" / "model.pt2").module()
    text = torch.randn(1, 1, 5)
    inputs = {"text": text, "audio": torch.full((1, 1, 4), torch.nan), "visual": torch.full((1, 1, 3), torch.nan)}
    masks = {name: torch.full((1, 1), name == "text") for name in inputs}
    with torch.no_grad():
        _, numbers = program(inputs, masks)
    assert numbers.item() == pytest.approx(run.predict(text=text[0].numpy()).numbers["sentiment"], abs=1e-4)
    small = run.export(quantise="int8").manifest
    assert small.cost is not None
    assert small.cost.score == "ccc"
    assert small.cost.samples == 48
    assert small.cost.complete == pytest.approx(run.scores().complete.score, abs=1e-6)
    assert small.bytes < small.cost.bytes_unquantised


def test_names_of_modalities_do_not_meet_those_inside(tmp_path: Path, tiny: Path) -> None:
    """A modality may be called as a node of the graph is; one that is called as an output is refused."""
    for name in ("linear", "logits"):
        data = tmp_path / name / "data"
        data.mkdir(parents=True)
        for file in tiny.iterdir():
            (data / file.name).write_bytes(file.read_bytes())
        toml = (data / "dataset.toml").read_text()
        (data / "dataset.toml").write_text(toml.replace("text =", f"{name} ="))
    run = train(tmp_path / "linear" / "data", tmp_path / "linear" / "run", encoder="mean")
    assert run.export().manifest.compared.largest_difference < 1e-5
    run = train(tmp_path / "logits" / "data", tmp_path / "logits" / "run", encoder="mean")
    with pytest.raises(ew.SettingsError, match="is called 'logits', as an output of the file is"):
        run.export()
