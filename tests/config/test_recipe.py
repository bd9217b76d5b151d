"""Recipes: strict in, complete out."""

import tomllib

import attrs
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from emotiwave_core.config.flags import parse_part, parse_value
from emotiwave_core.config.recipe import ALL, Part, Recipe, TrainingSettings
from emotiwave_core.errors import SettingsError
from emotiwave_core.parts.registry import load_registry

VALUES = st.one_of(
    st.integers(-(2**31), 2**31), st.booleans(), st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False)
)
OPTIONS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda key: key != "name"), VALUES, max_size=3
)
PARTS = st.builds(Part, st.text(min_size=1, max_size=8).filter(lambda name: ":" not in name), OPTIONS)
RECIPES = st.builds(
    Recipe,
    name=st.text(min_size=1, max_size=8),
    seed=st.integers(0, 2**32 - 1),
    encoder=st.dictionaries(st.sampled_from([ALL, "text", "audio"]), PARTS, min_size=1),
    fusion=PARTS,
    dropout=PARTS,
    training=st.builds(TrainingSettings, epochs=st.integers(1, 9), learning_rate=st.floats(1e-9, 1.0)),
)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("a:x=1,y=b", {"name": "a", "x": 1, "y": "b"}),
        ("a:x=[1, 2],y=[[1,2],[3]]", {"name": "a", "x": [1, 2], "y": [[1, 2], [3]]}),
        ('a:w={"text+audio" = 1, text=2},p=0.5', {"name": "a", "w": {"text+audio": 1, "text": 2}, "p": 0.5}),
        ("a:x='1,2',y=[']']", {"name": "a", "x": "1,2", "y": ["]"]}),
        ('a:policy={name="b",p=1}', {"name": "a", "policy": {"name": "b", "p": 1}}),
    ],
)
def test_options_in_a_flag_may_be_lists_and_tables(text: str, table: dict[str, object]) -> None:
    """A comma in brackets belongs to the value of an option."""
    assert parse_part(text) == table


@pytest.mark.parametrize("text", ["a:x=[1, 2", "a:x=[b, c]", "a:policy={name=b,p=1}"])
def test_a_torn_list_or_table_is_no_text(text: str) -> None:
    """Brackets that are not closed, or hold texts without quotes, are refused with the way to write them."""
    with pytest.raises(SettingsError, match="brackets must be closed, and texts inside them stand in quotes"):
        parse_part(text)


@pytest.mark.parametrize(
    ("table", "where"),
    [({"training": 5}, "'training': 5"), ({"objective": {"asymmetric": True}}, "'objective.asymmetric': True")],
)
def test_a_value_in_the_place_of_a_table_is_named(table: dict[str, object], where: str) -> None:
    """Settings that are not a table are refused by their key."""
    with pytest.raises(SettingsError, match=f"{where} is not a table"):
        Recipe.from_table(table, "mine")


@given(RECIPES)
def test_a_recipe_survives_toml(recipe: Recipe) -> None:
    """A recipe written as TOML and read again is the same recipe."""
    assert Recipe.from_table(tomllib.loads(tomli_w.dumps(recipe.to_table())), "test") == recipe


@pytest.mark.parametrize("align", ["none", "words", 10, 0.5])
def test_alignment_is_none_words_or_a_rate(align: str | float) -> None:
    """Each of them is read as it is written, with averaging by `downsample` only where there is none of it."""
    recipe = Recipe.from_table({"data": {"align": align, "downsample": {"audio": 1}}}, "mine")
    assert recipe.data.align == align
    assert Recipe.from_table(tomllib.loads(tomli_w.dumps(recipe.to_table())), "test") == recipe
    assert Recipe.from_table({"data": {"downsample": 3, "max_steps": {"audio": 9}}}, "mine").data.align == "none"


@pytest.mark.parametrize("name", sorted(load_registry().recipes))
def test_shipped_recipes_are_valid_and_complete(name: str) -> None:
    """Every shipped recipe reads, and its full form reads as the same."""
    recipe = Recipe.from_table(load_registry().recipe(name), name)
    assert Recipe.from_table(recipe.to_table(), name) == recipe
    assert recipe.name == name


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"training": {"epochs": "5x"}}, r"'training\.epochs': '5x' is not a whole number"),
        ({"training": {"epochs": 0}}, r"^mine.toml: 'training\.epochs' must be >= 1"),
        ({"objective": {"kind": "multi", "asymmetric": {"margin": 1}}}, r"'objective\.asymmetric\.margin' must be < 1"),
        ({"seed": -1}, "^mine.toml: 'seed' must be >= 0"),
        ({"training": {"epochs": 3.0}}, "3.0 is not a whole number"),
        ({"training": {"epoch": 3}}, r"unknown key 'training\.epoch'\. Did you mean 'epochs'\?"),
        ({"trainin": {}}, r"unknown key 'trainin'\. Did you mean 'training'\?"),
        ({"model": {"standardise": "no"}}, r"'model\.standardise': 'no' is not true, false, own or enrolled"),
        ({"model": {"head_dropout": float("nan")}}, "nan is not a number"),
        ({"data": {"unit": "word"}}, "'word' is not one of segment, video"),
        ({"data": {"max_steps": 0}}, "must be 1 or more"),
        ({"data": {"max_steps": {"text": 0}}}, "must be 1 or more"),
        ({"data": {"ratios": [0.5, 0.5]}}, "three positive numbers"),
        ({"data": {"align": "yes"}}, r"'data\.align': 'yes' is neither none, words nor a number of steps a second"),
        ({"data": {"align": "10"}}, "'10' is neither none, words nor a number"),
        ({"data": {"align": True}}, "True is neither none, words nor a number"),
        ({"data": {"align": float("inf")}}, "inf is not a number"),
        ({"data": {"align": 0}}, r"^mine.toml: 'data\.align' must be above 0 steps a second, not 0\.$"),
        ({"data": {"align": -0.5}}, r"'data\.align' must be above 0 steps a second, not -0.5"),
        (
            {"data": {"align": "words", "downsample": 2}},
            r"'data\.align' averages steps already: leave 'downsample' at 1",
        ),
        ({"data": {"align": 10, "downsample": {"audio": 1, "text": 3}}}, "'data.align' averages steps already"),
        ({"data": {"align": 10, "max_steps": {"audio": 1}}}, "'max_steps' is one number for all"),
        ({"encoder": 3}, "neither an encoder's name nor a table"),
        ({"fusion": {"width": 3}}, "nor a table with a 'name'"),
        ({"training": 3}, "training"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(table: dict[str, object], sentence: str) -> None:
    """Each fault of a recipe is one sentence with the source, the key and what it should be."""
    with pytest.raises(SettingsError, match=sentence) as caught:
        Recipe.from_table(table, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert "\n" not in str(caught.value)


def test_an_encoder_can_be_given_for_one_modality() -> None:
    """A modality takes its own encoder, and all others the one without a name."""
    recipe = Recipe.from_table({"encoder": {"text": "a", ALL: {"name": "b", "width": 2}}}, "test")
    assert recipe.encoder_of("text") == Part("a")
    assert recipe.encoder_of("audio") == Part("b", {"width": 2})
    with pytest.raises(SettingsError, match="no encoder for 'audio'"):
        attrs.evolve(recipe, encoder={"text": Part("a")}).encoder_of("audio")


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("bilstm", {"name": "bilstm"}),
        ("bilstm:hidden_size=256", {"name": "bilstm", "hidden_size": 256}),
        ("x:a=0.5,b=true,c=word", {"name": "x", "a": 0.5, "b": True, "c": "word"}),
    ],
)
def test_parts_on_the_command_line(text: str, table: dict[str, object]) -> None:
    """NAME:option=value,… is the table of a part, its values typed as in TOML."""
    assert parse_part(text) == table


def test_a_part_without_a_value_is_refused() -> None:
    """An option without '=' says how options are written."""
    with pytest.raises(SettingsError, match="NAME:option=value"):
        parse_part("bilstm:hidden_size")


def test_values_are_toml_or_text() -> None:
    """A value is what TOML makes of it; anything else is a text."""
    assert [parse_value(text) for text in ("5", "1e-3", "[1, 2]", "mean", "a\nb = 3")] == [
        5,
        1e-3,
        [1, 2],
        "mean",
        "a\nb = 3",
    ]
