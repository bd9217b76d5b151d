"""`emotiwave plugins check` and `show`: every wrong step gets a sentence, and what is measured is what is said."""

import json
import pkgutil
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trusted import trust_here
from typed_commands import Cli, typed_commands

from emotiwave_core.cli.check import exit_code, gather, print_event
from emotiwave_core.errors import EmotiwaveError
from emotiwave_core.interfaces import Encoded, WordEncoder
from emotiwave_core.layers.sequence import masked_mean, zero_masked
from emotiwave_core.parts.check import measure
from emotiwave_core.parts.check.laws_in_child import check, find_parts
from emotiwave_core.parts.kinds import part_kind
from emotiwave_core.parts.registry import load_registry
from emotiwave_dropout.uniform import Uniform

pytestmark = pytest.mark.usefixtures("warm_children")  # they start many processes

PART = '''
import os, sys, time
import torch
from torch import Tensor, nn
from emotiwave_core import Encoded, Encoder, hookimpl
from emotiwave_core.layers.sequence import masked_mean, zero_masked

class Mine(Encoder):
    """The mean of the steps (nobody, 1999)."""

    def __init__(self, in_features: int, *, width: int = 3) -> None:
        super().__init__()
        if width > 100:
            raise RuntimeError("too wide")
        self.out_features = width
        self.linear = nn.Linear(in_features, width)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        torch._dynamo.graph_break()  # so that no compiler is started, which takes long
        FORWARD
        states = zero_masked(self.linear(zero_masked(x, mask)), mask)
        return Encoded(states, masked_mean(states, mask), mask)

class Mean(Mine):
    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.states.mean(1))

@hookimpl
def register_encoders(register):
    register("mine", Mine)
'''
BOTH = PART + '    register("mean", Mean)\n'


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Type `emotiwave plugins …` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return typed_commands(capfd, "plugins")


def write(code: str = PART, forward: str = "pass", name: str = "mine.py") -> str:
    """A file with a part whose forward does this."""
    Path(name).write_text(code.replace("FORWARD", forward))
    return name


@pytest.mark.slow
def test_all_parts_of_a_file_are_held_to_the_laws_and_measured(cli: Cli) -> None:
    """A sound part keeps all laws, a broken one is told of its law and no other; the exit code is 1 for one of them."""
    done = cli("check", write(BOTH, 'print("hello")'), "--option", "width=5", "--json")
    assert done.code == 1
    sound, broken = json.loads(done.out)  # nothing of what the part prints is on stdout
    assert "hello" in done.err
    assert (sound["name"], sound["holds"], sound["options"]) == ("mine", True, {"width": 5})
    assert {law["state"] for law in sound["laws"]} <= {"holds", "not tried"}
    assert [law["law"] for law in broken["laws"] if law["state"] == "broken"] == ["padding_length_does_not_matter"]
    found = {one["measure"]: one for one in sound["measurements"]}
    assert found["parameters"]["value"] == 74 * 5 + 5
    assert found["forward"]["reference"] > 0
    assert found["whole graph"]["value"] is False
    assert found["compiles"]["note"].startswith("not tried")


def test_what_is_printed_fits_80_columns(cli: Cli) -> None:
    """Each law is printed with its sentence, a broken one with what came, where, and what usually causes it."""
    done = cli("check", write(forward="x[:, :, 99]"))
    assert done.code == 1
    assert all(len(line) <= 80 for line in done.out.splitlines())
    text = " ".join(done.out.split())
    assert "holds is_an_encoder An encoder derives from Encoder" in text
    assert "BROKEN returns_shapes_and_types" in text
    assert "It raised IndexError (index 99 is out of bounds for dimension 2 with size 5) in mine.py, line 20." in text
    assert re.search(r"1 of \d+ laws is broken; 1 hold, \d+ not tried\.", text)


@pytest.mark.full
def test_what_is_to_be_mended_stands_together_at_the_end(cli: Cli) -> None:
    """Below the verdict each broken law is told in full, once, with no law that holds between; above by its name."""
    done = cli("check", write(BOTH.replace('    register("mine", Mine)\n', "")), "--no-measure")
    assert done.code == 1
    above, below = re.split(r"encoder mean: 1 of \d+ laws is broken[^\n]*\n", done.out)
    heads = re.findall(r"^(BROKEN|WARNING|holds|not tried) +(\w+)$", below, re.MULTILINE)
    assert heads == [("BROKEN", "padding_length_does_not_matter")]
    assert "BROKEN     padding_length_does_not_matter\n" in above
    assert (above.count("         > "), below.count("         > ")) == (above.count("\nnot tried "), 1)


@pytest.mark.parametrize(
    ("forward", "seconds", "message"),
    [
        ("os._exit(9)", 200.0, "the process ended with exit code 9"),
        ("os._exit(0)", 200.0, "the process ended with exit code 0"),
        pytest.param("time.sleep(600)", 30.0, "there was no answer within 30 s", marks=pytest.mark.slow),
    ],
)
def test_a_part_that_kills_or_stalls_the_check_is_named_by_its_law(
    cli: Cli, forward: str, seconds: float, message: str
) -> None:
    """The law that was running is broken, with what happened."""
    *_, last = check(write(forward=forward), None, {}, None, seconds)
    assert (last["event"], last["law"]) == ("lost", "returns_shapes_and_types")
    assert message in last["message"]


@pytest.mark.full
def test_every_part_of_a_file_is_tried_whatever_happens_to_one(cli: Cli) -> None:
    """A part that dies when it is measured, or is not made, ends the check of no other; each loss has its name."""
    measured = "if x.shape[1] == 300: os._exit(3)"  # as many steps as the measurements have, and no law
    names = ("mine", "dies", "unmade", "broken")
    more = "".join(f"    register('{name}', {name.title()})\n" for name in names[1:])
    classes = [
        "class Dies(Mine):\n    def forward(self, x, mask):\n        if len(x) == 1: os._exit(7)\n"
        "        return super().forward(x, mask)\n",
        "class Unmade(Mine):\n    def __init__(self, in_features: int):\n        raise RuntimeError('nothing')\n",
        "class Broken(Mean):\n    pass\n",
    ]
    code = BOTH.replace("@hookimpl\n", "\n".join(classes) + "@hookimpl\n") + more
    done = cli("check", write(code, measured), "--json")
    assert done.code == 1, done.err
    parts = {part["name"]: part for part in json.loads(done.out)}
    assert tuple(parts) == ("mine", "mean", *names[1:])
    assert {name: part["holds"] for name, part in parts.items()} == {
        "mine": True,
        "mean": False,
        "dies": False,
        "unmade": None,
        "broken": False,
    }
    lost = [one["measure"] for one in parts["mine"]["measurements"] if one.get("lost")]
    assert lost[0] == "forward"
    assert "compiles" in lost  # named, though it was not its turn
    assert "RuntimeError: nothing" in parts["unmade"]["sentence"]
    assert len(parts["dies"]["laws"]) < len(parts["dies"]["contract"])  # the names of those that were not tried


def test_where_a_part_is_not_made_and_no_law_is_broken_the_code_says_so() -> None:
    """The exit code is that of a broken law, or else of the first part that was not made."""
    sound, broken, unmade = {"holds": True}, {"holds": False}, {"holds": None, "error": "PluginError"}
    assert exit_code([sound, unmade]) == 4
    assert exit_code([unmade, broken]) == 1
    assert exit_code([sound]) == 0


def test_measuring_can_be_left_out(cli: Cli) -> None:
    """With --no-measure every law is tried and nothing is measured."""
    events = list(check(write(), None, {}, None, measure=False))
    assert {event["event"] for event in events} == {"part", "law"}
    assert len(events) == 1 + len(events[0]["laws"])


@pytest.mark.slow
def test_a_part_inside_a_part_is_made_for_the_check(cli: Cli) -> None:
    """A policy that holds another is checked with it, made anew each time, and keeps its laws."""
    answer = cli("check", 'scheduled:policy={name="bernoulli",p=0.5},end=1.0')
    assert answer.code == 0, answer.out


def test_a_measurement_that_is_lost_breaks_no_law(capsys: pytest.CaptureFixture[str]) -> None:
    """A compiler that takes too long is reported as such, and the part still holds."""
    parts: list[dict[str, Any]] = []
    for event in (
        {"event": "part", "kind": "encoder", "name": "mine", "laws": 1},
        {"event": "law", "law": "one", "sentence": "It is one.", "state": "holds", "message": ""},
        {"event": "lost", "measure": "compiles", "message": "While it ran, there was no answer within 60 s."},
    ):
        gather(parts, event)
    print_event(parts, event)
    assert parts[0]["holds"]
    assert " ".join(capsys.readouterr().out.split()) == "compiles – While it ran, there was no answer within 60 s."


@pytest.mark.parametrize("code", [4, 0])
def test_a_file_that_kills_the_check_when_it_is_loaded_is_named(cli: Cli, code: int) -> None:
    """An exit at import is a plugin error that says so, also where it claims that all is well."""
    done = cli("check", write(f"import os; os._exit({code})"), "--json")
    assert (done.code, done.out) == (4, "")
    assert f"While mine.py was loaded, the process ended with exit code {code}" in done.err


@pytest.mark.short_rows(3)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "nothing.py"), 4),
        (("check", "watcher.py"), 4),
        (("check", "mine.py", "--kind", "fusion"), 2),
        (("check", "tensorboard"), 2),
        (("check", "bilstm", "--kind", "fusion"), 2),
        (("check", ""), 2),
        (("show", "tensorboard", "--kind", "fusion"), 2),
        (("show", "nobody"), 2),
    ],
)
def test_nothing_to_work_on_is_no_success(cli: Cli, arguments: tuple[str, ...], code: int) -> None:
    """Where there is no part to check or to show, the exit code is not 0, and stdout is empty with --json too."""
    write()
    Path("nothing.py").write_text("x = 1")
    Path("watcher.py").write_text(
        "from emotiwave_core import hookimpl\n@hookimpl\ndef on_run_end(run, scores):\n    pass\n"
    )
    done = cli(*arguments, "--json")
    assert (done.code, done.out) == (code, ""), done.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["mine.py", "--option", "widht=4"], 2, "Did you mean 'width'?"),
        (["mine.py", "--option", "width"], 2, "--option takes KEY=VALUE"),
        (["mine.py", "--option", "width=200"], 4, "fails at construction with {'width': 200}: RuntimeError: too wide"),
        (["bilstm:hidden_size=0"], 2, "hidden_size of bilstm must be at least 1"),
    ],
)
def test_wrong_options_get_a_sentence(cli: Cli, arguments: list[str], code: int, sentence: str) -> None:
    """A wrong option stops the check before the first law."""
    write()
    done = cli("check", *arguments)
    assert (done.code, done.out) == (code, "")
    assert sentence in done.err


@pytest.mark.parametrize(
    ("target", "text", "sentence"),
    [
        ("absent.py", None, r"There is no file absent\.py\."),
        ("a.py", "def f(:", r"a\.py does not load: SyntaxError"),
        ("b.py", "import no_such_module", r"b\.py does not load: ModuleNotFoundError"),
        ("p.py", "from .other import x", r"known parent package\. .*install the package .* plugins check NAME"),
        ("c.py", "x = 1", "c.py offers no part: it defines no subclass"),
        ("d.py", PART.replace("@hookimpl\n", ""), "register_encoders lacks the decorator @hookimpl"),
        ("e.py", PART.replace("register_encoders", "register_encoder"), "Did you mean 'register_encoders'"),
        ("f.py", PART.partition("@hookimpl")[0], r'in it `register\("mine", Mine\)`'),
        ("g.py", PART.replace('    register("mine", Mine)', "    pass"), "never calls register"),
        ("bilstn", None, "There is no part 'bilstn', and it is no .py file. Did you mean 'bilstm'"),
    ],
)
def test_what_is_not_there_gets_a_sentence(cli: Cli, target: str, text: str | None, sentence: str) -> None:
    """A name or a file without a part says what is missing."""
    if text is not None:
        write(text, name=target)
    with pytest.raises(EmotiwaveError, match=sentence):
        find_parts(load_registry(), target, None)


@pytest.mark.full
def test_what_is_passed_over_is_said_as_everywhere(cli: Cli) -> None:
    """A registry.toml without the user's word costs one line on stderr, without a place in our source, also of a name
    that is in its file.
    """
    write()
    Path("registry.toml").write_text('[plugins]\na = "mine.py"\n')
    done = cli("check", "mine")
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("Warning: ")
    assert "code that you have not trusted" in first
    assert "There is no part 'mine'" in second
    assert "laws_in_child.py" not in done.err


def test_a_name_of_two_kinds_asks_for_the_kind(cli: Cli) -> None:
    """The kind is found out, and asked for where a name has two."""
    fusion = "from emotiwave_core import Fusion, hookimpl\nclass F(Fusion):\n"
    fusion += "    def __init__(self, in_features: dict[str, int]) -> None:\n        super().__init__()\n"
    fusion += "@hookimpl\ndef register_fusions(register):\n    register('mine', F)\n"
    write()
    write(fusion, name="fusion.py")
    Path("registry.toml").write_text('[plugins]\na = "mine.py"\nb = "fusion.py"\n')
    trust_here()
    with pytest.raises(EmotiwaveError, match=r"'mine' names .* say which by --kind"):
        find_parts(load_registry(), "mine", None)
    assert find_parts(load_registry(), "mine", "fusion")[0][0] == "fusion"
    assert cli("show", "mine").code == 2
    assert "encoder mine (local)" in cli("show", "mine", "--kind", "encoder").out


def test_show_says_all_that_is_known(cli: Cli) -> None:
    """A shipped part is shown with its docstring, options and provider."""
    done = cli("show", "bilstm")
    assert done.code == 0
    for part in ("encoder bilstm (installed)", "emotiwave", "Hochreiter", "hidden_size: int = 128", "bilstm.py"):
        assert part in " ".join(done.out.split())


def test_show_says_what_a_name_means(cli: Cli) -> None:
    """A known but absent name is shown with what to install, an unknown one with the choices."""
    Path("registry.toml").write_text('[encoder]\nmamba = "emotiwave-mamba"\n')
    row = json.loads(cli("show", "mamba", "--json").out)[0]
    assert (row["state"], row["provider"]) == ("missing", "pip install emotiwave-mamba")
    done = cli("show", "mambo")
    assert (done.code, "Did you mean 'mamba'?" in done.err) == (2, True)


class Squares(nn.Module):
    """Keeps x [4, 8] for the backward pass of a square, and what its linear map needs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """x [4, 8] -> [4, 2]."""
        return self.linear(x).square()  # type: ignore[no-any-return]


def test_bytes_held_for_backward_are_counted_once_and_without_parameters() -> None:
    """What autograd keeps is the input, for the weights, and the result of the linear map, for the square."""
    assert measure.held_bytes(measure.Measured(Squares(), (torch.randn(4, 8),))) == 4 * (4 * 8 + 4 * 2)


def test_part_and_reference_are_timed_by_the_same_work() -> None:
    """A part that does the work of the reference twenty times takes longer than the reference."""

    def work(part: measure.Measured) -> None:
        for _ in range(20 if isinstance(part.module, Squares) else 1):
            part.inputs[0] @ part.inputs[0]

    inputs = (torch.randn(100, 100),)
    part, reference = measure.Measured(Squares(), inputs), measure.Measured(nn.Identity(), inputs)
    found = measure.timed(work, part, reference, training=False)
    assert found.value > 2 * found.reference  # type: ignore[operator]


def test_an_encoder_of_words_is_measured_on_words_of_its_own_numbers() -> None:
    """It and the reference each read words by their own K numbers, and the numbering is timed too."""

    class Lengths(WordEncoder):
        out_features = 1

        def tokens(self, words: Sequence[str]) -> Tensor:
            """words -> [W, 1]: their lengths."""
            return torch.tensor([len(word) for word in words], dtype=torch.int64).view(-1, 1)

        def forward(self, x: Tensor, mask: Tensor) -> Encoded:
            """x [B, T, 1] -> the mean length, and nothing else."""
            assert x.shape[2] == 1
            states = zero_masked(x.float(), mask)
            return Encoded(states, masked_mean(states, mask), mask)

    kind, registry = part_kind("word-encoder"), load_registry(None)
    assert kind.workload is not None
    steps = dict(measure.measurements(pkgutil.resolve_name(kind.workload), lambda _: Lengths(), kind, registry))
    for name in ("parameters", "numbers of words", "forward"):
        assert steps[name]().reference is not None, name
    assert steps["parameters"]().value == 0


def test_long_run_rates_are_counted() -> None:
    """The rates of `uniform` sum to 1, and are near 1/7 each."""
    found = measure.rates(Uniform()).value
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["text+audio+visual"] == pytest.approx(1 / 7, abs=0.05)


@pytest.mark.full
def test_without_a_compiler_it_is_said_that_nothing_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no C++ compiler is found, the graph is tried and the compiler is not."""
    monkeypatch.setattr(measure.shutil, "which", lambda name: None)
    inputs = (torch.randn(4, 8),)
    assert measure.whole_graph(Squares().eval(), inputs).value is True
    found = measure.compiles(Squares().eval(), inputs)
    assert (found.value, found.note[:27]) == (None, "not tried: no C++ compiler ")
