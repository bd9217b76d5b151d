"""A model is rebuilt from its two files alone; damaged files are told from whole ones; no file can run code."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import REGISTRY, evaluate, resume, small, start

from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.loading.batch import batches
from emotiwave_core.errors import DataError, PluginError
from emotiwave_core.interfaces import Tensors
from emotiwave_core.io.atomic import sha256_of
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.model_file import MODEL, read_model_file
from emotiwave_core.runs.saved_model import WEIGHTS, load_model, save_model
from emotiwave_core.train.checkpoint import LAST

RECIPE_OF_TEST = small(
    encoder={"text": {"name": "bilstm", "hidden_size": 3}, "*": {"name": "bilstm", "hidden_size": 5}},
    fusion={"name": "crossmodal", "width": 4, "heads": 2, "layers": 1},
    objective={"kind": "multi"},
    training={"epochs": 1},
)


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FusionModel]:
    """A run and the model of its end, as it was in memory."""
    folder, models = tmp_path_factory.mktemp("trained"), []
    with pytest.MonkeyPatch.context() as patch:

        def keep_model(run: Path, model: FusionModel, *described: Any) -> None:
            models.append(model)
            save_model(run, model, *described)

        patch.setattr("emotiwave_core.train.checkpoint.save_model", keep_model)
        start(RECIPE_OF_TEST, tiny, folder / "run")
    return folder / "run", models[-1]


@pytest.fixture
def run(trained: tuple[Path, FusionModel], tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def a_batch(tiny: Path) -> tuple[Tensors, Tensors]:
    """Inputs and masks of some samples."""
    store = open_corpus(tiny, RECIPE_OF_TEST.data).store
    rows = torch.arange(len(store)).numpy()
    batch = next(batches(store, rows, torch.zeros(len(store)), 16, torch.device("cpu")))
    return batch.inputs, batch.masks


def test_two_files_are_enough(tiny: Path, tmp_path: Path, trained: tuple[Path, FusionModel]) -> None:
    """From model.safetensors and model.json, with a new registry, the model gives the same logits to the last bit."""
    folder, model = trained
    (tmp_path / "alone").mkdir()
    for name in (WEIGHTS, MODEL):
        shutil.copy(folder / name, tmp_path / "alone" / name)
    rebuilt, objective, recipe, description, changes = load_model(tmp_path / "alone", load_registry())
    inputs, masks = a_batch(tiny)
    with torch.inference_mode():
        due: Tensor = model.eval()(inputs, masks).logits
        assert not rebuilt.training
        assert torch.equal(rebuilt(inputs, masks).logits, due)
    assert changes == []
    assert objective.multi
    assert objective.classes == tuple(description.classes)
    assert recipe == Recipe.from_table(read_recipe(folder / RECIPE), "the run's")


def test_the_description_says_what_the_model_is(trained: tuple[Path, FusionModel]) -> None:
    """model.json names the parts with who provides them, the widths, the classes, and counts the parameters."""
    folder, model = trained
    description = read_model_file(folder)
    parts = [(part.kind, part.name, part.modality) for part in description.plugins]
    encoders = [("encoder", "bilstm", m) for m in ("text", "audio", "visual")]
    assert parts == [*encoders, ("fusion", "crossmodal", None), ("dropout", "uniform", None)]
    assert {part.distribution for part in description.plugins} == {"emotiwave"}
    assert description.features == {"text": 5, "audio": 4, "visual": 3}
    assert description.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert description.weights_sha256 == sha256_of(folder / WEIGHTS)
    assert set(description.thresholds or ()) == set(description.classes)


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change model.json."""

    def damage(run: Path) -> None:
        about = json.loads((run / MODEL).read_text())
        change(about)
        (run / MODEL).write_text(json.dumps(about))

    return damage


def cut(run: Path) -> None:
    """Cut the weights short."""
    (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:-1])


def cut_and_sign(run: Path) -> None:
    """Cut the weights short, and give model.json the sum of what is left."""
    cut(run)
    edit(lambda about: about.update(weights_sha256=sha256_of(run / WEIGHTS)))(run)


def flip(run: Path) -> None:
    """Turn one bit of the weights."""
    data = bytearray((run / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (run / WEIGHTS).write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no description": (lambda run: (run / MODEL).unlink(), "holds no trained model"),
    "no weights": (lambda run: (run / WEIGHTS).unlink(), WEIGHTS),
    "weights cut short": (cut, WEIGHTS),
    "weights cut short and signed": (cut_and_sign, WEIGHTS),
    "a bit of the weights": (flip, WEIGHTS),
    "empty weights": (lambda run: (run / WEIGHTS).write_bytes(b""), WEIGHTS),
    "empty description": (lambda run: (run / MODEL).write_bytes(b""), "is damaged"),
    "description cut short": (lambda run: (run / MODEL).write_bytes((run / MODEL).read_bytes()[:99]), "is damaged"),
    "description not UTF-8": (lambda run: (run / MODEL).write_bytes(b"\xff"), "is damaged"),
    "description a list": (lambda run: (run / MODEL).write_text("[1]"), "is damaged"),
    "no sum": (edit(lambda about: about.pop("weights_sha256")), WEIGHTS),
    "another format": (edit(lambda about: about.update(format=99)), "format 99"),
    **{
        f"no {key}": (edit(lambda about, key=key: about.pop(key)), f"'{key}'")
        for key in ("recipe", "features", "steps", "targets", "thresholds")
    },
    "targets not a list": (edit(lambda about: about.update(targets=None)), "'targets'"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_one_sentence(run: Path, what: str) -> None:
    """A file of the model that is missing, damaged or of another run is a DataError that names it."""
    damage, words = DAMAGE[what]
    damage(run)
    with pytest.raises(DataError) as caught:
        load_model(run, REGISTRY)
    assert words in str(caught.value)
    assert str(run) in str(caught.value)


def test_weights_of_another_run_are_refused(run: Path, tiny: Path, tmp_path: Path) -> None:
    """Weights and description belong together."""
    start(small(seed=9, training={"epochs": 1}), tiny, tmp_path / "other")
    shutil.copy(tmp_path / "other" / WEIGHTS, run / WEIGHTS)
    with pytest.raises(DataError, match="does not belong"):
        load_model(run, REGISTRY)


def test_a_changed_part_is_told(run: Path) -> None:
    """Where the parts assemble another model than the one that was saved, the error speaks of the plugin."""
    edit(lambda about: about["recipe"]["encoder"]["text"].update(hidden_size=6))(run)
    with pytest.raises(PluginError, match="was a plugin changed"):
        load_model(run, REGISTRY)


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, fuse: Path) -> None:
        self.fuse = fuse

    def __reduce__(self) -> Any:
        return Path.touch, (self.fuse,)


def test_no_pickle_is_ever_loaded(run: Path, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle in the place of any file of a run is a DataError, and what it holds is not run."""
    fuse = tmp_path / "gone off"
    bombs = [pickle.dumps(Bomb(fuse))]
    torch.save(Bomb(fuse), tmp_path / "bomb.pt")
    bombs.append((tmp_path / "bomb.pt").read_bytes())
    for bomb in bombs:
        (run / WEIGHTS).write_bytes(bomb)
        edit(lambda about: about.update(weights_sha256=sha256_of(run / WEIGHTS)))(run)
        with pytest.raises(DataError, match=WEIGHTS):
            load_model(run, REGISTRY)
        (run / LAST).write_bytes(bomb)
        with pytest.raises(DataError, match=LAST):
            resume(run)
    assert not fuse.exists()
    pickle.loads(bombs[0])
    assert fuse.exists()  # the bomb is one


def test_loading_never_asks_torch_load(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring and resuming a run work where unpickling and torch.load are taken away."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)
    for name in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"):
        monkeypatch.setattr(name, None)
    assert evaluate(run).samples > 0
    resume(run)


def test_files_can_be_read_by_others(run: Path) -> None:
    """Weights and description are readable to everyone that the umask allows, as any file that is written."""
    (run / "plain").write_bytes(b"")
    for name in (WEIGHTS, MODEL, LAST, RECIPE):
        assert (run / name).stat().st_mode == (run / "plain").stat().st_mode
