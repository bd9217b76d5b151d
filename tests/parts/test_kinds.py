"""A kind of part is one row of the table and its base class, and everything else follows from the row."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from trusted import trust_here

from emotiwave_core.config.options import signature_options
from emotiwave_core.errors import PluginError
from emotiwave_core.parts.check.laws_in_child import check, find_parts
from emotiwave_core.parts.kinds import KINDS, PartKind, part_kinds
from emotiwave_core.parts.loading import installed
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.parts.scaffold import NewPlugin, write_file, write_project
from emotiwave_core.parts.survey import survey

GATES = '''
"""What a new kind of part needs: its base class, and a contract."""
from torch import Tensor, nn
from emotiwave_core.testing.laws import expect, law
from emotiwave_core.testing.shared import PluginContract, expect_options

class Gate(nn.Module):
    """Lets a share of a tensor through."""

class GateContract(PluginContract):
    """The laws of a gate."""
    positional = ("width",)
    arguments = (4,)
    granted = ("is_a_gate",)

    @law("Derive from Gate.")
    def test_is_a_gate(self) -> None:
        """A gate derives from Gate."""
        expect(isinstance(self.make(4), Gate), "It is no Gate.")

    @law("Write (self, width: int, *, option: type = default).")
    def test_options_are_explicit(self) -> None:
        """The constructor takes `width`, then options."""
        expect_options(self.make(4), self.positional)

    def once(self) -> nn.Module:
        return self.make(4)
'''
TEMPLATE = '''
"""The {{ title }} `{{ name }}`."""
from emotiwave_core import hookimpl
from made_up_gates import Gate

class {{ part }}(Gate):
    """Lets all through."""
    def __init__(self, width: int, *, share: float = 1.0) -> None:
        super().__init__()

@hookimpl
def register_gates(register):
    register("{{ name }}", {{ part }})
'''
ROW = """
from pathlib import Path
from emotiwave_core.parts.kinds import KINDS, PartKind
KINDS["gate"] = PartKind(
    name="gate", title="gate of a stream", hook="register_gates", base="made_up_gates:Gate",
    contract="made_up_gates:GateContract", parameters=("width: int",), template=Path({template!r}), small="share=0.5",
)
"""


@pytest.fixture
def gates(warm_children: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A kind `gate`, in this process and in those that it starts, and an empty working folder."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "made_up_gates.py").write_text(GATES)
    (site / "gate.py.j2").write_text(TEMPLATE)
    (site / "sitecustomize.py").write_text(ROW.format(template=str(site / "gate.py.j2")))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setitem(KINDS, "gate", KINDS["encoder"])  # so that it is taken out again
    exec((site / "sitecustomize.py").read_text())
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "work"
    sys.modules.pop("made_up_gates", None)


def test_a_new_kind_is_a_row_and_a_base_class(gates: Path) -> None:
    """A part of a made-up kind is scaffolded, listed, found, made with its options, and held to its kind's laws."""
    path = write_file(NewPlugin("gate", "wide"), gates)
    Path("registry.toml").write_text('[plugins]\nlocal = "wide.py"\n[gate]\nnarrow = "emotiwave-narrow"\n')
    trust_here()
    registry = load_registry()
    rows = {row["name"]: row for row in survey(registry, None) if row["kind"] == "gate"}
    assert (rows["wide"]["state"], rows["wide"]["options"]) == ("local", {"share": 1.0})
    assert (rows["narrow"]["state"], rows["narrow"]["provider"]) == ("missing", "pip install emotiwave-narrow")
    part, origin, _ = registry.find("gate", "wide")
    assert (part.__name__, Path(origin)) == ("WideGate", path)
    assert find_parts(registry, "wide", None)[0][:2] == ("gate", "wide")
    events = list(check("wide.py", None, {"share": 0.5}, None))
    assert [event["event"] for event in events] == ["part", *["law"] * 5]
    assert {event["law"]: event["state"] for event in events[1:]} == {
        "is_a_gate": "holds",
        "options_are_explicit": "holds",
        "options_survive_a_recipe": "holds",
        "seeds_nothing": "holds",
        "import_draws_nothing": "holds",
    }


def test_a_project_of_a_new_kind_is_written_from_its_row(gates: Path) -> None:
    """Entry point, title, contract and constructor of a new project are those of the kind's row."""
    project = write_project(NewPlugin("gate", "wide"), gates)
    assert '"gate.wide" = "emotiwave_wide"' in (project / "pyproject.toml").read_text()
    assert "The gate of a stream `wide` for Emotiwave." in (project / "README.md").read_text()
    written = (project / "tests" / "test_wide.py").read_text()
    assert "from made_up_gates import GateContract" in written
    assert "def make(self, width: int) -> WideGate:" in written
    assert "return WideGate(width, share=0.5)" in written


def test_what_offers_the_wrong_class_is_told_the_kinds_base(gates: Path) -> None:
    """A hook of a new kind that gives another class is answered with the kind's own base."""
    Path("wrong.py").write_text(
        "from emotiwave_core import hookimpl\n@hookimpl\ndef register_gates(register):\n    register('wrong', dict)\n"
    )
    with pytest.raises(PluginError, match="offers 'wrong' as gate, but what it gives is no subclass of Gate"):
        find_parts(load_registry(), "wrong.py", None)


def test_every_row_is_whole() -> None:
    """What a row names can be imported, and its shipped reference takes what the row says."""
    registry = load_registry()
    for kind in part_kinds():
        assert isinstance(kind, PartKind)
        assert kind.template.is_file()
        assert kind.base_class in registry.part(kind.name, str(kind.reference)).__mro__
        assert len(kind.contract_class.positional) == len(kind.contract_class.arguments) == kind.positional
        assert signature_options(registry.part(kind.name, str(kind.reference)), kind.positional) is not None
    assert {provider.kind for provider in installed()} == set(KINDS) - {"command"}  # of which none ships
