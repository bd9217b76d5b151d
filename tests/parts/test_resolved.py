"""The parts of a recipe are looked up once, and everything that is made or said of them comes from that."""

import json
from pathlib import Path

import pytest
from faulty_plugins import Sandbox, plugin
from faulty_plugins import sandbox as sandbox

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import SettingsError
from emotiwave_core.parts.registry import load_registry

COUNTED = "with open('hooks.txt', 'a') as file: file.write('x')"


def test_the_hook_of_a_local_file_is_called_once_in_a_run(sandbox: Sandbox) -> None:
    """From the recipe to the report, a run that trains, scores and explains asks a file once what it offers."""
    assert sandbox.run(plugin(hook=COUNTED)).code == 0
    assert Path("hooks.txt").read_text() == "x"
    rows = json.loads(Path("there/model.json").read_text())["plugins"]
    assert [row["distribution"] for row in rows if row["name"] == "mine"] == [str(Path.cwd() / "mine1.py")]


def test_what_was_resolved_is_what_the_recipe_says() -> None:
    """Each modality has its own encoder or that of all, each part all of its options, parts inside parts included."""
    table = {
        "encoder": {"text": {"name": "mean", "width": 3}, "*": "bilstm"},
        "dropout": {"name": "mixed", "policies": ["uniform", {"name": "bernoulli", "p": 0.5}]},
    }
    parts = load_registry().resolve(Recipe.from_table(table, "It"))
    assert [(part.name, m) for part, m in parts.used_by(("text", "audio"))] == [
        ("mean", "text"),
        ("bilstm", "audio"),
        ("concat", None),
        ("mixed", None),
        ("uniform", None),
        ("bernoulli", None),
    ]
    completed = parts.completed()
    assert completed.encoder["text"].options["width"] == 3
    assert completed.encoder["*"].options["hidden_size"] == 128
    assert completed.dropout.options["policies"][1]["p"] == 0.5
    assert load_registry().resolve(completed).completed() == completed
    assert parts.encoder_of("audio").make(5).out_features == 256


def test_parts_inside_a_part_are_new_each_time() -> None:
    """Two policies of one resolved part share no policy inside them."""
    table = {"dropout": {"name": "mixed", "policies": ["uniform", "none"]}}
    dropout = load_registry().resolve(Recipe.from_table(table, "It")).dropout
    one, other = dropout.make(), dropout.make()
    assert len(list(one.modules())) > 2
    assert not {*one.modules()} & {*other.modules()}


def test_a_modality_without_an_encoder_is_named() -> None:
    """A recipe with encoders for some modalities alone says which one has none."""
    parts = load_registry().resolve(Recipe.from_table({"encoder": {"text": {"name": "mean"}}}, "It"))
    with pytest.raises(SettingsError, match="has no encoder for 'audio': add --encoder audio=NAME"):
        parts.encoder_of("audio")
