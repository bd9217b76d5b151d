"""What the README tells a stranger to type works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import block, text_of

from emotiwave_core.cli import exit_code_of
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.parts.registry import load_registry

README = text_of("README.md")
RECIPES = text_of("docs/recipes.md")


@pytest.mark.usefixtures("warm_children")
def test_the_encoder_of_the_readme_runs_and_keeps_the_contract(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, the registry.toml and the test of the README work in an empty folder, as they stand."""
    monkeypatch.chdir(tmp_path)
    for first_line, name in (
        ("# my_encoder.py", "my_encoder.py"),
        ("# registry.toml", "registry.toml"),
        ("# test_my_encoder.py", "test_my_encoder.py"),
    ):
        Path(name).write_text(block(README, first_line))
    fast = ["--set", "training.epochs=1", "--out", "run"]
    assert exit_code_of(["plugins", "trust"]) == 0
    assert exit_code_of(["run", "--encoder", "meanmlp:width=32", "--data", str(tiny), *fast]) == 0
    plugins = json.loads(Path("run/model.json").read_text())["plugins"]
    assert plugins[0]["name"] == "meanmlp"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_encoder.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_shipped_part_and_recipe_is_named() -> None:
    """The pages on recipes and on data name all parts that ship; commands there and in the README name what exists."""
    registry = load_registry()
    parts = {kind: registry.names_of(kind) for kind in registry.names}
    for names in parts.values():
        assert all(f"`{name}`" in RECIPES + text_of("docs/data.md") for name in names), names
    for recipe in re.findall(r"emotiwave run ([a-z]+)(?=\s)", README + RECIPES):
        assert recipe in registry.recipes
    for encoder in re.findall(r"--encoder (?:[\w/]+=)?(\w+)", README + RECIPES):
        assert encoder in [*parts["encoder"], "meanmlp"]


def test_the_dataset_toml_is_valid(tmp_path: Path) -> None:
    """The example dataset.toml is one that the reader takes."""
    text = block(text_of("docs/data.md"), 'name = "RAVDESS"')
    (tmp_path / "dataset.toml").write_text(text)
    (tmp_path / "transcripts").mkdir()
    for name in re.findall(r'"(\w+\.\w+)"', text):
        (tmp_path / name).touch()
    assert load_dataset(tmp_path).name == "RAVDESS"
