"""Faulty plugins: whatever a plugin raises, the message names it, the run's files stay whole and the run goes on."""

import os
import signal
import threading
from functools import partial
from pathlib import Path

import pytest
from faulty_plugins import KINDS, RAISES, Sandbox, check_ended, check_whole, command, plugin
from faulty_plugins import sandbox as sandbox
from forked import emotiwave, forked
from trusted import trust_here

from emotiwave_core.parts import guard as guard

AT_IMPORT = RAISES | {
    "ModuleNotFoundError": "import nothing_of_that_name",
    "SyntaxError": "def broken(:",
}
PAIRS = [(kind, what) for kind in KINDS for what in RAISES]
EACH_KIND = [pytest.param(*one, marks=[] if one[1] == "SystemExit" else pytest.mark.stress) for one in PAIRS]
ENDS = ("encoder", "SystemExit")  # what would end the program as if all were well
IN_TRAINING = [pytest.param(*one, marks=[] if one == ENDS else pytest.mark.stress) for one in PAIRS]


@pytest.mark.parametrize("what", AT_IMPORT)
def test_what_is_raised_at_import_names_the_file(sandbox: Sandbox, what: str) -> None:
    """Whatever a file raises when it is imported, it is passed over by its name, and no folder is left."""
    ran = sandbox.run(plugin(at_import=AT_IMPORT[what]))
    assert ran.code == 2, ran.err  # for now there is no encoder of the name
    assert f"mine1.py does not load: {what}" in ran.err
    assert "Traceback" not in ran.err
    assert not Path("there").exists()


@pytest.mark.parametrize(("kind", "what"), EACH_KIND)
def test_what_is_raised_at_construction_names_the_part(sandbox: Sandbox, kind: str, what: str) -> None:
    """Whatever a constructor raises, the program leaves with 4, names the part and frees the folder."""
    ran = sandbox.run(plugin(kind, construct=RAISES[what]), kind)
    assert ran.code == 4, ran.err
    assert f"The {kind} 'mine' fails at construction" in ran.said
    assert not Path("there/recipe.toml").exists()


@pytest.mark.parametrize("what", ["SystemExit", "Stop"])
def test_what_a_hook_raises_names_the_file(sandbox: Sandbox, what: str) -> None:
    """Whatever the hook of a file raises, the file is passed over by name."""
    ran = sandbox.run(plugin(hook=RAISES[what]))
    assert (ran.code, "The hooks of" in ran.err, "mine1.py fail" in ran.err) == (2, True, True), ran.err


@pytest.mark.parametrize(("kind", "what"), IN_TRAINING)
def test_what_is_raised_in_training_costs_an_epoch(sandbox: Sandbox, kind: str, what: str) -> None:
    """Raised late in training: exit code 4, the part and its line are named, and the mended part ends the run."""
    ran = sandbox.run(plugin(kind, forward=RAISES[what]), kind)
    assert ran.code == 4, ran.err
    assert f"The {kind} 'mine' fails in " in ran.said
    assert "mine1.py, line" in ran.said
    check_whole(Path("there"), 2)
    assert sandbox.resume(plugin(kind)).code == 0
    check_ended(Path("there"))


@pytest.mark.stress
@pytest.mark.parametrize("what", RAISES)
def test_step_100(sandbox: Sandbox, what: str) -> None:
    """The same at step 100 exactly, and once more when it is resumed."""
    slowly = ("--set", "training.batch_size=1", "--set", "training.epochs=5")
    ran = sandbox.run(plugin(forward=RAISES[what], when="self.step == 100"), "encoder", *slowly)
    assert (ran.code, "The encoder 'mine' fails in " in ran.said) == (4, True), ran.err
    check_whole(Path("there"), 4, of=5)
    again = sandbox.resume(plugin(forward=RAISES[what], when="self.step == 4"))  # 96 are done
    assert (again.code, "The encoder 'mine' fails in " in again.said) == (4, True), again.err
    check_whole(Path("there"), 4, of=5)
    assert sandbox.resume(plugin()).code == 0
    check_ended(Path("there"), 5)


@pytest.mark.stress
def test_what_is_raised_in_scoring_names_the_part(sandbox: Sandbox) -> None:
    """A part that fails only when the run is scored again, explained or put under a protocol is named there too."""
    assert sandbox.run(plugin()).code == 0
    sandbox.holds(plugin(when="not self.training", forward="sys.exit(0)"))
    for words in (["evaluate", "there"], ["explain", "there"], ["evaluate", "there", "--protocol", "noise"]):
        ran = sandbox.call(*words)
        assert (ran.code, "The encoder 'mine' fails in" in ran.said) == (4, True), ran.err
    check_ended(Path("there"))


def test_a_policy_that_fails_as_it_observes_is_named(sandbox: Sandbox) -> None:
    """An adaptive policy is asked about nothing between the steps that could end the program."""
    code = plugin("dropout") + "\ndef observe(self, present, loss):\n    sys.exit(0)\nMine.observe = observe\n"
    ran = sandbox.run(code, "dropout")
    assert (ran.code, "The dropout 'mine' fails in" in ran.said) == (4, True), ran.err


@pytest.mark.stress
def test_a_part_that_recurses_without_end_is_named(sandbox: Sandbox) -> None:
    """RecursionError is the part's, and the run's files are whole."""
    ran = sandbox.run(plugin(forward="return self.forward(x, mask)"))
    assert (ran.code, "The encoder 'mine' fails in" in ran.said) == (4, True), ran.err
    check_whole(Path("there"), 2)


@pytest.mark.full
def test_a_hanging_import_is_said_and_ctrl_c_ends_it(tiny: Path, tmp_path: Path) -> None:
    """After some seconds a line names the plugin, its file and the way out; Ctrl-C then ends the program with 130."""
    (tmp_path / "mine.py").write_text("while True: pass")
    (tmp_path / "registry.toml").write_text('[plugins]\nlocal = "mine.py"\n')
    trust_here(tmp_path)
    work = partial(_impatient, *command(tiny, "encoder"))
    where = {"EMOTIWAVE_CACHE": str(tmp_path / "cache")}
    ended = forked(work, folder=tmp_path, environment=where)
    assert ended.code == 130, ended
    (line,) = [line for line in ended.err.splitlines() if "Still loading" in line]
    assert "the plugin 'local' (" in line
    assert "mine.py)" in line
    assert "Ctrl-C" in line
    assert not (tmp_path / "there").exists()


def _impatient(*arguments: str) -> int:
    """The program, which soon says what it waits for, and a person who then has enough."""
    guard.SLOW = 0.2
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    return emotiwave(*arguments)


@pytest.mark.stress
def test_after_a_crash_of_the_process_the_run_goes_on(tiny: Path, tmp_path: Path) -> None:
    """A plugin that kills the process leaves whole files, and the mended one ends the run."""
    (tmp_path / "registry.toml").write_text('[plugins]\nlocal = "mine.py"\n')
    (tmp_path / "mine.py").write_text(plugin(forward="import ctypes; ctypes.string_at(0)"))
    trust_here(tmp_path)
    where = {"EMOTIWAVE_CACHE": str(tmp_path / "cache")}
    ended = forked(partial(emotiwave, *command(tiny, "encoder")), folder=tmp_path, environment=where)
    assert ended.code == -signal.SIGSEGV
    check_whole(tmp_path / "there", 2)
    (tmp_path / "mine.py").write_text(plugin())
    trust_here(tmp_path)
    ended = forked(partial(emotiwave, "run", "--resume", "there"), folder=tmp_path, environment=where)
    assert ended.code == 0, ended.err
    check_ended(tmp_path / "there")


@pytest.mark.stress
def test_the_parts_are_sound_without_their_defects(sandbox: Sandbox) -> None:
    """Each kind of plugin of the sandbox works before it is broken, and nothing is said of it."""
    for number, kind in enumerate(KINDS):
        words = command(sandbox.data, kind)
        sandbox.holds(plugin(kind))
        ran = sandbox.call(*words[:-1], f"there{number}")
        assert (ran.code, "put back" in ran.err) == (0, False), ran.err
