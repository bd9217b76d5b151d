"""The documents are executed, and what is generated in them is up to date."""

import contextlib
import importlib.util
import json
import re
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from documents import ROOT, block, text_of
from safetensors.torch import load_file
from trusted import trust_here

from emotiwave_core.cli import exit_code_of
from emotiwave_core.config.flags import override
from emotiwave_core.config.options import bare
from emotiwave_core.config.recipe import Asymmetric, Part, Recipe
from emotiwave_core.errors import SettingsError
from emotiwave_core.testing import (
    AugmentationContract,
    Contract,
    DropoutPolicyContract,
    EncoderContract,
    FusionContract,
    MetricContract,
    ObjectiveContract,
    WordEncoderContract,
)

GUIDE = text_of("docs/plugins.md")
PARTS = [
    "convnet.py",
    "centred.py",
    "bag.py",
    "scored.py",
    "voting.py",
    "around.py",
    "ramped.py",
    "quieter.py",
    "hard.py",
    "pretrained.py",
    "found.py",
    "target.py",
    "watcher.py",
]
TESTS = ["test_convnet.py", "test_ramped.py"]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the guide, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    for name in [*PARTS, *TESTS]:
        Path(name).write_text(block(GUIDE, f"# {name}"))
    return tmp_path


@pytest.mark.usefixtures("warm_children")
@pytest.mark.parametrize(
    ("file", "name", "contract"),
    [
        ("convnet.py", "ConvNet", EncoderContract),
        pytest.param("centred.py", "Centred", EncoderContract, marks=pytest.mark.full),
        pytest.param("bag.py", "BagOfWords", WordEncoderContract, marks=pytest.mark.full),
        ("scored.py", "Scored", FusionContract),
        pytest.param("voting.py", "Voting", FusionContract, marks=pytest.mark.full),
        pytest.param("around.py", "Around", FusionContract, marks=pytest.mark.full),
        ("ramped.py", "Ramped", DropoutPolicyContract),
        pytest.param("pretrained.py", "Pretrained", EncoderContract, marks=pytest.mark.full),
        pytest.param("quieter.py", "Quieter", AugmentationContract, marks=pytest.mark.full),
        pytest.param("hard.py", "Hard", ObjectiveContract, marks=pytest.mark.full),
        ("found.py", "Found", MetricContract),
    ],
)
def test_the_parts_of_the_guide_keep_every_law(written: Path, file: str, name: str, contract: type[Contract]) -> None:
    """The encoder, the fusion and the dropout policy of docs/plugins.md keep their contracts."""
    spec = importlib.util.spec_from_file_location(f"guide_{name}", written / file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the annotations of its classes are looked up
    spec.loader.exec_module(module)
    checked = type("Checked", (contract,), {"make": lambda self, *arguments: getattr(module, name)(*arguments)})
    for law in checked.laws():
        with contextlib.suppress(unittest.SkipTest):  # what needs a GPU
            law.check()


def test_the_parts_of_the_guide_train_together(written: Path, tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With the guide's registry.toml lines, one run takes its encoder, fusion, policy and watcher."""
    lines = ("[plugins]", *(f'{name.removesuffix(".py")} = "{name}"' for name in PARTS))
    Path("registry.toml").write_text("\n".join(lines))
    trust_here()
    parts = ["--encoder", "convnet:width=8", "--fusion", "scored", "--dropout", "ramped:p=0.9", "--watch", "watcher"]
    parts += ["--augmentation", "quieter", "--objective", "hard:pull=0.1", "--metric", "found"]
    assert exit_code_of(["run", "--data", str(tiny), "--out", "run", "--set", "training.epochs=2", *parts]) == 0
    assert "epoch 2: loss" in capfd.readouterr().err  # stdout is kept for the scores
    scores = json.loads(Path("run/scores.json").read_text())
    assert all({"found", "watcher.confidence"} == set(each["extra"]) for each in scores["configurations"].values())
    assert scores["plugin_metrics"]["found"]["guess"] == 1.0


@pytest.mark.full
def test_the_fusion_of_the_guide_answers_in_a_run(written: Path, tiny: Path) -> None:
    """The fusion that answers itself trains with its auxiliary loss, on classes and on numbers, and is scored again."""
    Path("registry.toml").write_text('[plugins]\nvoting = "voting.py"')
    trust_here()
    for kind in ("single", "regression"):
        settings = ("training.epochs=2", "objective.unimodal=0.5", f"objective.kind={kind}")
        flags = [word for setting in settings for word in ("--set", setting)]
        command = ["run", "--data", str(tiny), "--out", kind, "--encoder", "mean:width=8", "--fusion", "voting", *flags]
        assert exit_code_of(command) == 0
        assert exit_code_of(["evaluate", kind]) == 0


@pytest.mark.full
def test_the_encoder_of_the_guide_is_fitted_to_the_training_fold(written: Path, tiny: Path) -> None:
    """A run has the centre in its weights, and is scored again without the training fold's help."""
    Path("registry.toml").write_text('[plugins]\ncentred = "centred.py"')
    trust_here()
    command = ["run", "--data", str(tiny), "--out", "run", "--encoder", "centred:width=8", "--set", "training.epochs=1"]
    assert exit_code_of(command) == 0
    assert exit_code_of(["evaluate", "run"]) == 0
    weights = load_file("run/model.safetensors")
    assert all(weights[f"encoders.{modality}.centre"].any() for modality in ("text", "audio", "visual"))


@pytest.mark.full
def test_the_watcher_of_the_guide_ends_a_run(written: Path, tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With a target that any model reaches, the run is ended after its first epoch, for the reason that is given."""
    Path("target.py").write_text(Path("target.py").read_text().replace("> 0.8", ">= 0.0"))
    Path("registry.toml").write_text('[plugins]\ntarget = "target.py"')
    trust_here()
    command = ["run", "--data", str(tiny), "--out", "run", "--encoder", "mean:width=8", "--watch", "target"]
    assert exit_code_of(command) == 0
    assert "Stopped after epoch 1 by target: the complete configuration is above .8" in capfd.readouterr().err


@pytest.mark.full
@pytest.mark.usefixtures("warm_children")
def test_the_test_of_the_guide_is_green(written: Path) -> None:
    """The contract tests of the guide pass under pytest, and the rates of its policy are what it says."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", *TESTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "`rates`" not in done.stdout  # none is left out for want of them


def recipe_rows() -> dict[str, list[str]]:
    """The table under "Recipe" in the reference: key, then default, allowed and meaning."""
    table = text_of("docs/reference.md").partition("## Recipe")[2].partition("## Commands")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {key.strip("`"): rest for key, *rest in rows}


def keys_of(kind: type[Any], before: str = "") -> Iterator[str]:
    """Every key that a recipe may hold, as `--set` writes it."""
    for field in attrs.fields(kind):
        inner = bare(field.type)
        if attrs.has(inner) and inner is not Part:
            yield from keys_of(inner, f"{before}{field.name}.")
        else:
            yield f"{before}{field.name}"


def test_the_reference_has_every_setting_of_a_recipe() -> None:
    """Each key stands there once with its meaning, and its default may be written down: the recipe stays the same."""
    rows = recipe_rows()
    assert [key for key in rows if key != "objective.asymmetric"] == list(keys_of(Recipe))
    assert all(len(rest) == 3 and rest[2].endswith(".") for rest in rows.values())
    given = {key: rest[0].strip("`") for key, rest in rows.items() if rest[0].strip() and "asymmetric" not in key}
    assert set(rows) - set(given) >= {"data.rotation", "objective.asymmetric"}
    for settings in ([*given.items()], *([item] for item in given.items())):
        table = override({}, tuple(f"{key}={value}" for key, value in settings))
        assert Recipe.from_table(table, "the reference") == Recipe()
    asymmetric = {key: rest[0].strip("`") for key, rest in rows.items() if key.startswith("objective.asymmetric.")}
    settings = ("objective.kind=multi", *(f"{key}={value}" for key, value in asymmetric.items()))
    assert Recipe.from_table(override({}, settings), "x").objective.asymmetric == Asymmetric()


def test_the_limits_of_the_reference_are_those_that_hold() -> None:
    """What lies beyond a limit is refused by its key, what lies on or just inside it is taken."""
    found = 0
    for key, (value, allowed, _) in recipe_rows().items():
        before = ("objective.kind=multi",) if "asymmetric" in key else ()
        for sign, bound in re.findall(r"`([<>]=?) ([\d.]+)`", allowed):
            number, found = float(bound) if "." in value or "e" in value else int(bound), found + 1
            step = (1 if isinstance(number, int) else 1e-6) * (1 if sign[0] == ">" else -1)
            good, bad = (number, number - step) if "=" in sign else (number + step, number)
            structured = override({}, (*before, f"{key}={good!r}"))
            assert Recipe.from_table(structured, "x")
            with pytest.raises(SettingsError, match=f"x: '{re.escape(key)}' must be "):
                Recipe.from_table(override({}, (*before, f"{key}={bad!r}")), "x")
        for choice in re.findall(r'`("\w[^`]*")`', allowed):
            assert Recipe.from_table(override({}, (f"{key}={choice}",)), "x")
    assert found >= 15


@pytest.mark.usefixtures("warm_children")
def test_the_reference_is_up_to_date() -> None:
    """docs/reference.md is what `make docs` writes."""
    command = [sys.executable, str(ROOT / "docs" / "reference.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == text_of("docs/reference.md"), "run `make docs`"


def test_the_licences_are_those_of_the_packages() -> None:
    """docs/licences.md is what `make docs` writes, knows every licence, and none that its users must pass on."""
    command = [sys.executable, str(ROOT / "docs" / "licences.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == text_of("docs/licences.md"), "run `make docs`"
    licences = [line.split(" | ")[2] for line in done.stdout.splitlines()[10:]]
    assert len(licences) > 50
    assert not [one for one in licences if "GPL" in one or one == "unknown"]
