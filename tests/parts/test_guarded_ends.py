"""A part changes no number of others and no end of the program: further means, by injection."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import torch

from emotiwave_core.errors import PluginError
from emotiwave_core.parts.guard import (
    PutBack,
    check_snapshot,
    exits_of_plugins,
    forbid_exit,
    preserve_global_state,
    snapshot,
)


def hook_all_modules() -> None:
    """A hook that torch calls in every module."""
    torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: output)


def patch_the_optimiser() -> None:
    """Another step of AdamW."""
    torch.optim.AdamW.step = lambda self: None  # type: ignore[method-assign,assignment]


def patch_a_metric() -> None:
    """A macro-F1 of 1."""
    from emotiwave_core.metrics import macro_f1

    macro_f1.macro_f1 = lambda *_: 1.0


CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "precision of matrix products": (
        lambda: torch.set_float32_matmul_precision("medium"),
        torch.get_float32_matmul_precision,
    ),
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), torch.get_num_threads),
    "hooks for all modules": (hook_all_modules, lambda: len(torch.nn.modules.module._global_forward_hooks)),
    "functions of others": (patch_the_optimiser, lambda: torch.optim.AdamW.step),
    "that a run computes with": (patch_a_metric, lambda: sys.modules["emotiwave_core.metrics.macro_f1"].macro_f1),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_would_change_a_number_is_put_back_and_said(what: str) -> None:
    """Precision, threads, hooks of all modules, optimisers and metrics are what they were."""
    import emotiwave_core.metrics.macro_f1  # noqa: F401

    change, read = CHANGES[what]
    before = read()
    with pytest.warns(PutBack, match=what), preserve_global_state("The plugin x", "when it is loaded"):  # noqa: PT031
        change()
        assert read() != before
    assert read() == before


@pytest.mark.parametrize("what", ["precision of matrix products", "threads"])
def test_a_forward_that_changes_them_is_an_error(what: str) -> None:
    """In the middle of a training it names the part."""
    change, read = CHANGES[what]
    before, value = snapshot(), read()
    change()
    with pytest.raises(PluginError, match=what):
        check_snapshot(before, "The encoder 'x'")
    assert read() == value


def test_nothing_is_said_of_a_part_that_changes_nothing(recwarn: pytest.WarningsRecorder) -> None:
    """Modules that a plugin imports for the first time are no change."""
    with preserve_global_state("The plugin x", "when it is loaded"):
        import emotiwave_core.metrics.decisions  # noqa: F401
    assert not recwarn.list


def test_os_exit_of_a_part_is_an_error() -> None:
    """It neither ends the program nor says success; a process that was started from this one leaves as ever."""
    leave = os._exit
    with exits_of_plugins(), pytest.raises(PluginError, match="must not end the program"), forbid_exit("The part x"):
        os._exit(0)
    assert os._exit is leave
    with exits_of_plugins():
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


PROGRAM = """
import os, sys, threading
from emotiwave_core import cli
sys.argv = ["emotiwave", "recipes"]
cli.PATIENCE = 0.1
def callback(debug):
    {code}
cli.emotiwave.callback = callback
cli.main()
"""


@pytest.mark.parametrize(
    ("code", "due", "words"),
    [
        ("t = threading.Thread(target=os._exit, args=(0,)); t.start(); t.join()", 4, "os._exit()"),
        ("threading.Thread(target=threading.Event().wait, name='forever').start()", 0, "is not waited for: forever"),
        ('raise RuntimeError("can\'t start new thread")', 5, "No more threads"),
    ],
    ids=["os._exit in a thread", "a thread without end", "no more threads"],
)
def test_the_end_of_the_program_is_its_own(code: str, due: int, words: str) -> None:
    """The exit code is that of the work, and a thread of a plugin holds nobody up."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=code)], capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, words in done.stderr) == (due, True), done.stderr
    assert threading.active_count() >= 1
