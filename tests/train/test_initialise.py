"""A stranger's pretrained encoder: read once, before the first step, and needed no more once a run has weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from distributions import install
from distributions import site as site
from documents import block, text_of
from killed_runs import killed_at, outcome
from safetensors.torch import save_file
from training import CPU, small

from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import ALL
from emotiwave_core.errors import DataError, EmotiwaveError, PluginError
from emotiwave_core.evaluate import evaluation
from emotiwave_core.io.atomic import sha256_of
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.model_file import InitialFile, read_model_file
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.train import run

CODE = block(text_of("docs/plugins.md"), "# pretrained.py")
FROZEN = CODE.replace("learning_rate=0.1", "learning_rate=0")
KEYS = ("backbone.weight", "backbone.bias")

pytestmark = pytest.mark.full


@pytest.fixture
def stranger(site: Path) -> Callable[[str], None]:
    """A package of somebody else, `emotiwave-pretrained`, with this code in it."""
    return lambda code: install(site, "emotiwave-pretrained", "encoder.pretrained", "pretrained", code)


def checkpoint(width: int = 4, features: int = 5) -> Path:
    """Weights for the text of the tiny data set, in the working folder."""
    generator = torch.Generator().manual_seed(0)
    drawn = {
        "weight": 0.1 * torch.randn(width, features, generator=generator),
        "bias": torch.randn(width, generator=generator),
    }
    save_file(drawn, "text.safetensors")
    return Path("text.safetensors")


def of(path: Path | str, outer: bool = False, epochs: int = 2) -> Any:
    """A recipe whose text is encoded by the pretrained part, or by one around it."""
    part: dict[str, Any] = {"name": "pretrained", "width": 4, "checkpoint": str(path)}
    text = {"name": "stats", "width": 4, "encoder": part} if outer else part
    return small(encoder={"text": text, ALL: {"name": "mean", "width": 4}}, training={"epochs": epochs})


def start(recipe: Any, data: Path, out: str) -> None:
    """A run on the CPU, without its report."""
    run.start(recipe, data, Path(out), load_registry(), Runtime(CPU))


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)


def test_a_training_begins_with_the_weights_of_the_file(tiny: Path, stranger: Callable[[str], None]) -> None:
    """What is frozen is the file's to the last bit at the end; `model.json` says which file it was."""
    stranger(FROZEN)
    path = checkpoint()
    digest, begun = sha256_of(path), read_tensors(path)[0]
    start(of(path), tiny, "run")
    saved = read_tensors(Path("run") / WEIGHTS)[0]
    for key in KEYS:
        assert torch.equal(saved[f"encoders.text.{key}"], begun[key.removeprefix("backbone.")])
    due = [InitialFile("encoder", "pretrained", "text", str(path), digest)]
    assert read_model_file(Path("run")).initialised_from == due


def test_a_run_needs_its_checkpoint_no_more(tiny: Path, stranger: Callable[[str], None]) -> None:
    """A run that has been stopped goes on without the file that it began with, and ends as if it were there."""
    stranger(CODE)
    path = checkpoint()
    start(of(path), tiny, "whole")
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, True):
        start(of(path), tiny, "cut")
    path.unlink()
    run.resume(Path("cut"), load_registry(), Runtime(CPU))
    assert read_model_file(Path("cut")).initialised_from
    assert outcome(Path("cut")) == outcome(Path("whole"))
    scores = evaluation.evaluate(Path("whole"), load_registry(), Runtime(CPU))
    assert scores.to_dict() == json.loads(Path("whole", SCORES).read_text())


def test_a_part_inside_a_part_is_initialised(tiny: Path, stranger: Callable[[str], None]) -> None:
    """The file of an encoder inside another is read too, and told under the outer one, which the recipe names."""
    stranger(FROZEN)
    start(of(checkpoint(), outer=True), tiny, "run")
    (read,) = read_model_file(Path("run")).initialised_from
    assert (read.name, read.file) == ("stats", "text.safetensors")


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (
            ("[Path(self.checkpoint)]", "[Path('nowhere')]"),
            PluginError,
            "The encoder 'pretrained' says that it was initialised from nowhere, which is not there.",
        ),
        (
            ("self.backbone.load_state_dict", "self.backbone = nn.Linear(1, 1).load_state_dict"),
            PluginError,
            "The encoder 'pretrained' fails when it is initialised with {'width': 4, 'checkpoint': 'text.safetensors'}",
        ),
        (
            ("self.backbone.load_state_dict", "self.spare = nn.Linear(1, 1); self.backbone.load_state_dict"),
            PluginError,
            "The encoder 'pretrained' gets the tensor spare.weight when it is initialised",
        ),
        (
            ("self.backbone.load_state_dict", "self.backbone.half().load_state_dict"),
            PluginError,
            "changes the type of backbone.weight from torch.float32 to torch.float16",
        ),
        (
            ("self.backbone.load_state_dict", "self.backbone.requires_grad_(False).load_state_dict"),
            PluginError,
            "stops to train backbone.weight when it is initialised",
        ),
        (
            ("[Path(self.checkpoint)]", "self.backbone.weight.fill_(float('nan'))"),
            PluginError,
            "The encoder 'pretrained' is initialised with weights that are no finite numbers.",
        ),
        (
            ("self.backbone.load_state_dict(", "self.load_state_dict(strict=False, state_dict="),
            PluginError,
            "The encoder 'pretrained' says that it has read text.safetensors, and all its numbers are as they were",
        ),
        (
            ("load_file(self.checkpoint)", "exit(3)"),
            PluginError,
            "The encoder 'pretrained' fails when it is initialised: SystemExit: 3; a part must not end the program.",
        ),
    ],
    ids=["no file", "fails", "grows", "half", "freezes", "nan", "takes nothing", "exits"],
)
def test_what_goes_wrong_is_a_sentence_with_the_name(
    tiny: Path,
    stranger: Callable[[str], None],
    change: tuple[str, str],
    error: type[EmotiwaveError],
    sentence: str,
) -> None:
    """A part that fails when it is initialised ends the run before the first step, and leaves its folder free."""
    stranger(CODE.replace(*change))
    with pytest.raises(error) as caught:
        start(of(checkpoint()), tiny, "run")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    stranger(CODE)
    start(of(checkpoint()), tiny, "run")


def test_a_file_that_is_missing_or_does_not_fit_is_named(tiny: Path, stranger: Callable[[str], None]) -> None:
    """Exit code 3 and the path for a file that is not there, 4 and the shapes for one of another size."""
    for code, words in (
        (CODE, r"No such file or directory: absent\.safetensors\.$"),  # safetensors' own
        (CODE.replace("load_file(self.checkpoint)", "open(self.checkpoint)"), r"there is no absent\.safetensors\.$"),
    ):
        stranger(code)
        with pytest.raises(DataError, match=f"^The encoder 'pretrained' is not initialised: {words}"):
            start(of("absent.safetensors"), tiny, "run")
    stranger(CODE)
    with pytest.raises(PluginError, match=r"The encoder 'pretrained' fails when .* size mismatch for weight"):
        start(of(checkpoint(width=5)), tiny, "run")
