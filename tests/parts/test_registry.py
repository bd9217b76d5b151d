"""The registry: what is installed, what a name means, and what is said when either is wrong."""

import tomllib
from pathlib import Path

import pytest
import tomli_w
from distributions import ENCODER, install
from distributions import site as site
from documents import ENTRIES
from trusted import trust_here

from emotiwave_core.config.recipe import Part, as_part, part_table
from emotiwave_core.errors import PassedOver, PluginError, SettingsError
from emotiwave_core.interfaces import Encoder
from emotiwave_core.parts.registry import Registry, load_registry
from emotiwave_core.parts.survey import survey

pytestmark = pytest.mark.usefixtures("warm_children")  # they start many processes


def overlay(text: str) -> Registry:
    """The registry with a registry.toml in the working folder."""
    Path("registry.toml").write_text(text)
    if "[plugins]" in text:
        trust_here()
    return load_registry()


def test_default_parts_come_in_by_entry_points_and_names_are_listed_without_importing() -> None:
    """All shipped parts are found by name, each provided by the distribution emotiwave."""
    registry = load_registry()
    for kind in ("encoder", "fusion", "dropout", "watch"):
        assert registry.names_of(kind) == sorted(name.partition(".")[2] for name in ENTRIES if name.startswith(kind))
    assert {provider.origin for provider in registry.providers} == {"emotiwave"}


def test_an_installed_stranger_is_a_part_like_any_other(site: Path) -> None:
    """A part of a third distribution is found, made and described as a default one is."""
    install(site, "emotiwave-mine", "encoder.mine", "ew_mine_a", ENCODER)
    registry = load_registry()
    part, origin, version = registry.find("encoder", "mine")
    assert issubclass(part, Encoder)
    assert (origin, version) == ("emotiwave-mine", "1.0")
    assert registry.make("encoder", Part("mine", {"width": 5}), 4).out_features == 4
    assert registry.complete("encoder", Part("mine")).options == {"width": 3, "rate": 0.5}


def test_a_name_belongs_to_its_owner(site: Path) -> None:
    """A squatter of an owned name is passed over and reported as shadowed."""
    install(site, "squatter", "encoder.bilstm", "ew_squatter", "raise SystemExit('never imported')")
    registry = load_registry()
    assert registry.find("encoder", "bilstm")[1] == "emotiwave"
    states = {(row["name"], row["state"]) for row in survey(registry, None)}
    assert {("bilstm", "shadowed"), ("bilstm", "installed")} <= states


def test_rivals_for_an_unowned_name_are_an_error_that_says_how_to_choose(site: Path) -> None:
    """Two distributions with one unowned name stop with the line for registry.toml, and that line decides."""
    install(site, "one", "encoder.mine", "ew_one", ENCODER)
    install(site, "two", "encoder.mine", "ew_two", ENCODER)
    with pytest.raises(PluginError, match=r"offered by one and two; .*mine = .* under \[encoder\]"):
        load_registry().provider("encoder", "mine")
    assert overlay('[encoder]\nmine = "two"').find("encoder", "mine")[1] == "two"


def test_a_known_but_absent_name_answers_with_what_to_install(site: Path) -> None:
    """A name with an owner that is not installed says which package to install."""
    with pytest.raises(PluginError, match="not installed; it comes with: pip install emotiwave-mamba"):
        overlay('[encoder]\nmamba = "emotiwave-mamba"').part("encoder", "mamba")


def test_an_unknown_name_lists_the_choices_and_the_nearest(site: Path) -> None:
    """A misspelt name is answered with the nearest and all others."""
    with pytest.raises(SettingsError, match=r"no encoder 'bilstn'\. Did you mean 'bilstm'\? Choose from: .*, bilstm, "):
        load_registry().part("encoder", "bilstn")


def test_a_local_file_is_a_plugin(site: Path) -> None:
    """A file that ./registry.toml names offers its parts without any package."""
    Path("my_encoder.py").write_text(ENCODER)
    registry = overlay('[plugins]\nmine = "my_encoder.py"')
    assert registry.make("encoder", Part("mine"), 7).out_features == 7
    row = next(row for row in survey(registry, None) if row["name"] == "mine")
    assert (row["state"], row["options"]) == ("local", {"width": 3, "rate": 0.5})


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import no_such_module_at_all", "does not load: ModuleNotFoundError"),
        ("def f(:", "does not load: SyntaxError"),
        ("raise SystemExit(3)", "does not load: SystemExit"),
        (
            ENCODER.replace("def register_encoders", "def register_encodres"),
            "no known hook|does not offer|register_encodres",
        ),
        (ENCODER.replace("@hookimpl", ""), "does not offer"),
        (ENCODER.replace("(Encoder)", "(object)"), "no subclass of Encoder"),
        (ENCODER.replace("def register_encoders(register)", "def register_encoders(registar)"), "registar"),
        (ENCODER.replace("*, width: int = 3,", "width: int = 3, *,"), "1 positional parameter"),
        (ENCODER.replace("width: int = 3", "width=3"), "'width' needs a type, as in"),
        (ENCODER.replace("rate: float = 0.5", "**rest: int"), "write each option out"),
    ],
)
def test_a_broken_plugin_says_what_is_wrong_and_stops_no_other(site: Path, code: str, sentence: str) -> None:
    """Each kind of broken plugin is a PluginError in one sentence, and every other part still works."""
    install(site, "broken", "encoder.mine", f"ew_broken_{abs(hash(code))}", code)
    registry = load_registry()
    with pytest.raises(PluginError, match=sentence):
        registry.complete("encoder", Part("mine"))
    assert registry.find("encoder", "bilstm")[1] == "emotiwave"


def test_a_plugin_that_kills_or_breaks_is_listed_with_its_error(site: Path) -> None:
    """`survey` reports a part that ends its process as broken and still answers for all the others."""
    install(site, "killer", "encoder.killer", "ew_killer", "import os; os._exit(9)")
    install(site, "talker", "encoder.mine", "ew_talker", "print('hello')\n" + ENCODER)
    rows = {row["name"]: row for row in survey(load_registry(), None)}
    assert rows["killer"]["state"] == "broken"
    assert "exit code 9" in rows["killer"]["summary"]
    assert rows["mine"]["state"] == rows["uniform"]["state"] == rows["bilstm"]["state"] == "installed"


def test_a_part_that_raises_at_construction_is_named(site: Path) -> None:
    """An error in a constructor becomes a PluginError with the part's name and options."""
    install(site, "emotiwave-mine", "encoder.mine", "ew_mine_c", ENCODER)
    with pytest.raises(PluginError, match=r"'mine' fails at construction with \{'width': 200.*too wide"):
        load_registry().make("encoder", Part("mine", {"width": 200}), 4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden_sise": 3}, r"no option 'hidden_sise'\. Did you mean 'hidden_size'\?"),
        ({"hidden_size": "big"}, "'big' is not a whole number"),
        ({"hidden_size": 3.9}, "3.9 is not a whole number"),
        ({"hidden_size": True}, "True is not a whole number"),
        ({"dropout": float("nan")}, "nan is not a number"),
        ({"pooling": "median"}, "'median' is not one of last, mean, max"),
    ],
)
def test_options_are_checked_against_the_constructor(options: dict[str, object], sentence: str) -> None:
    """A wrong option of a part is refused before anything is made of it, and the message says why."""
    with pytest.raises(SettingsError, match=sentence):
        load_registry().complete("encoder", Part("bilstm", dict(options)))


WRAPPERS = """
from emotiwave_core import DropoutPolicy, hookimpl

class Wraps(DropoutPolicy):
    '''Another policy, and some more.'''
    def __init__(self, *, policy: DropoutPolicy | None = None, more: list[DropoutPolicy] | None = None,
                 rates: dict[str, float] | None = None):
        super().__init__()
        self.policy, self.more, self.rates = policy, more, rates
    def forward(self, masks, progress):
        return masks

@hookimpl
def register_dropout_policies(register):
    register("wraps", Wraps)
"""


def test_a_policy_may_hold_others(site: Path) -> None:
    """Dropout policies inside a policy are checked, completed, written and made like any other part."""
    Path("wraps.py").write_text(WRAPPERS)
    registry = overlay('[plugins]\nmine = "wraps.py"')
    inner = {"name": "wraps", "policy": "uniform", "rates": {"audio": 1}}
    table = {"name": "wraps", "policy": {"name": "bernoulli", "p": 0.5}, "more": ["none", inner]}
    made = registry.make("dropout", as_part(table))
    assert (type(made.policy).__name__, made.policy.p) == ("Bernoulli", 0.5)
    assert [type(one).__name__ for one in made.more] == ["NoDropout", "Wraps"]
    assert (type(made.more[1].policy).__name__, made.more[1].rates) == ("Uniform", {"audio": 1.0})

    complete = part_table(registry.complete("dropout", as_part(table)))
    assert complete["policy"] == {"name": "bernoulli", "p": 0.5, "per": "sample", "allow_empty": False}
    assert tomllib.loads(tomli_w.dumps(complete)) == complete
    names = [part.name for part in registry.resolve_part("dropout", as_part(table)).with_inner()]
    assert names == ["wraps", "bernoulli", "none", "wraps", "uniform"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"policy": "unifrom"}, "no dropout 'unifrom'. Did you mean 'uniform'"),
        ({"policy": {"name": "bernoulli", "q": 1}}, "'bernoulli' has no option 'q'"),
        ({"policy": 3}, "option 'policy': 3 is not the name of a part, nor a table with a 'name'"),
        ({"more": "none"}, "option 'more': 'none' is not a list"),
        ({"more": [{"p": 1}]}, "not the name of a part, nor a table with a 'name'"),
        ({"rates": 3}, "option 'rates': 3 is not a table"),
        ({"rates": {"a": "b"}}, "'b' is not a number"),
    ],
)
def test_a_wrong_part_inside_a_part_is_named(site: Path, options: dict[str, object], sentence: str) -> None:
    """What is wrong in a policy inside a policy is refused before anything is made, and the message says where."""
    Path("wraps.py").write_text(WRAPPERS)
    registry = overlay('[plugins]\nmine = "wraps.py"')
    with pytest.raises(SettingsError, match=sentence):
        registry.complete("dropout", Part("wraps", options))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[encoder", "not a readable TOML file"),
        ("[encoders]", "unknown table .encoders.*Did you mean 'encoder'"),
        ("[encoder]\nbilstm = 3", "must hold texts"),
        ("[recipe]\nmine = 3", "must hold tables"),
    ],
)
def test_a_wrong_registry_file_is_named(site: Path, text: str, sentence: str) -> None:
    """A damaged registry.toml is answered with its path and its fault."""
    with pytest.raises(SettingsError, match=sentence):
        overlay(text)


def test_later_layers_win(site: Path, tmp_path: Path) -> None:
    """`--registry FILE` is laid over ./registry.toml, which is laid over the packaged one."""
    Path("registry.toml").write_text('[recipe.here]\nfusion = "concat"\n[recipe.both]\nseed = 1')
    extra = tmp_path / "extra.toml"
    extra.write_text("[recipe.both]\nseed = 2")
    registry = load_registry(extra)
    assert registry.recipe("both") == {"name": "both", "seed": 2}
    assert {"here", "both", "notebook", "default", "paper"} <= set(registry.recipes)


@pytest.mark.full
def test_a_disabled_name_is_refused_and_listed(site: Path) -> None:
    """A name in `disabled` is not loaded, says which file disables it, and stops no other."""
    registry = overlay('disabled = ["fusion.crossmodal"]')
    with pytest.raises(PluginError, match=r"'crossmodal' is disabled by .*registry\.toml; take it out of `disabled`"):
        registry.part("fusion", "crossmodal")
    states = {row["name"]: row["state"] for row in survey(registry, None)}
    assert (states["crossmodal"], states["concat"]) == ("disabled", "installed")


@pytest.mark.parametrize("text", ['disabled = "fusion.concat"', "disabled = [3]", 'disabled = ["concat"]'])
def test_disabled_must_be_a_list_of_names(site: Path, text: str) -> None:
    """A wrong `disabled` says how it is written."""
    with pytest.raises(SettingsError, match="must be a list such as"):
        overlay(text)


def test_a_broken_local_file_stops_no_other_part(site: Path) -> None:
    """With a file in [plugins] that does not load, others are found, and the file is named in a warning."""
    Path("broken.py").write_text("def f(:")
    Path("fine.py").write_text(ENCODER)
    registry = overlay('[plugins]\nbroken = "broken.py"\nfine = "fine.py"')
    with pytest.warns(PassedOver, match=r"broken\.py does not load: SyntaxError.*passed over"):
        assert registry.find("encoder", "mine")[1].endswith("fine.py")
    with pytest.warns(PassedOver):
        assert registry.find("encoder", "bilstm")[1] == "emotiwave"


def test_a_local_file_may_hold_dataclasses(site: Path) -> None:
    """A file is a module like any other: its dataclasses with postponed annotations work."""
    code = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 0\n"
    )
    Path("mine.py").write_text(code + ENCODER)
    assert overlay('[plugins]\nmine = "mine.py"').find("encoder", "mine")[1].endswith("mine.py")
