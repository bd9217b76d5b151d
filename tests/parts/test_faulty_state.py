"""Faulty plugins: what a plugin changes that all parts share is put back or refused, and said with its name."""

import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_plugins import Sandbox, check_whole, plugin
from faulty_plugins import sandbox as sandbox
from safetensors import safe_open

from emotiwave_core.parts.global_state import common_things
from emotiwave_core.parts.guard import PutBack, preserve_global_state

# What a plugin does, and what the line about it calls what it has changed.
CHANGES = {
    "os.chdir('/')": "the working folder",
    "os.umask(0o777)": "the mask of file modes",
    "os.environ['EMOTIWAVE_CACHE'] = '/nowhere'": "environment variables",
    "os.environ['CUDA_VISIBLE_DEVICES'] = '7'": "environment variables",
    "os.environ.pop('PATH')": "environment variables",
    "sys.setrecursionlimit(sys.getrecursionlimit() - 100)": "the limit of recursion",
    "warnings.simplefilter('error')": "the filters of all warnings",
    "warnings.simplefilter('ignore')": "the filters of all warnings",
    "warnings.showwarning = print": "the filters of all warnings",
    "sys.stdout = sys.stderr": "sys.stdout",
    "sys.stderr = open(os.devnull, 'w')": "sys.stderr",
    "signal.signal(signal.SIGINT, signal.SIG_IGN)": "what Ctrl-C does",
    "signal.signal(signal.SIGTERM, lambda *_: None)": "what SIGTERM does",
    "np.seterr(all='raise')": "what NumPy does at an overflow",
    "torch.set_default_dtype(torch.float64)": "torch's default type",
    "torch.set_default_device('meta')": "torch's default device",
    "torch.set_grad_enabled(False)": "whether torch keeps gradients",
    "torch.use_deterministic_algorithms(True)": "torch's choice of deterministic algorithms",
}
DRAWS = {
    "torch.manual_seed(0)": "torch's random generator",
    "random.seed(0)": "Python's random generator",
    "np.random.seed(0)": "NumPy's random generator",
}
REFUSED = {
    "os.chdir('/')": "the working folder",
    "torch.set_default_dtype(torch.float64)": "torch's default type",
    "torch.set_grad_enabled(False)": "whether torch keeps gradients",
    "torch.manual_seed(0)": "the seed of torch's generator",
}
NAMES = {"os": os, "sys": sys, "random": random, "signal": signal, "warnings": warnings, "np": np, "torch": torch}


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What all share and is not as it was; it is put back for the other tests."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # pytest changes it between a fixture and its test
    things = [one for one in common_things("anything") if one.name not in ("sys.stdout", "sys.stderr")]
    before = [one.read() for one in things]
    yield lambda: [one.name for one, old in zip(things, before, strict=True) if one.changed(old, one.read())]
    for one, value in zip(things, before, strict=True):
        if one.changed(value, one.read()):
            one.write(value)


@pytest.mark.parametrize("change", CHANGES | DRAWS)
def test_what_is_changed_is_put_back_and_said(change: str, changed: Callable[[], list[str]]) -> None:
    """Each thing is as it was after the guard, and the warning names who changed it and what."""
    streams = sys.stdout, sys.stderr
    with (
        pytest.warns(PutBack, match="The plugin 'mine'") as caught,
        preserve_global_state("The plugin 'mine'", "in the sandbox"),
    ):
        exec(change, NAMES)
    (warning,) = [one for one in caught if one.category is PutBack]
    assert f"changes {(CHANGES | DRAWS)[change]} in the sandbox" in str(warning.message)
    assert changed() == []
    assert (sys.stdout, sys.stderr) == streams


@pytest.mark.parametrize(
    "harmless",
    [
        "os.environ['A_LIBRARY_OF_ITS_OWN'] = '1'",
        "sys.setrecursionlimit(100_000)",
        "warnings.filterwarnings('ignore', message='its own')",
        "warnings.filterwarnings('ignore', category=DeprecationWarning)",
    ],
)
def test_what_harms_nobody_stays(
    harmless: str, changed: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """A library's own variables, a narrow filter and a higher limit are left alone, and nothing is said."""
    monkeypatch.delenv("A_LIBRARY_OF_ITS_OWN", raising=False)
    limit = sys.getrecursionlimit()
    with preserve_global_state("The plugin 'mine'", "in the sandbox"):
        exec(harmless, NAMES)
    assert not list(recwarn)
    assert "A_LIBRARY" not in harmless or os.environ.pop("A_LIBRARY_OF_ITS_OWN") == "1"
    assert "filterwarnings" not in harmless or warnings.filters[0][0] == "ignore"
    sys.setrecursionlimit(limit)


@pytest.mark.parametrize("place", ["at_import", pytest.param("construct", marks=pytest.mark.stress)])
def test_a_plugin_that_changes_everything_changes_no_run(
    sandbox: Sandbox, place: str, changed: Callable[[], list[str]]
) -> None:
    """With all of it changed at import, or at construction, the model is bit for bit that of the sound plugin."""
    assert sandbox.run(plugin()).code == 0
    due = Path("there/model.safetensors").read_bytes()
    Path("there").rename("sound")
    every = [change for change in CHANGES if "sys.stderr" not in change]
    ran = sandbox.run(plugin(**{place: "\n".join([*every, *DRAWS] if place == "at_import" else every)}))
    assert ran.code == 0, ran.err
    assert Path("there/model.safetensors").read_bytes() == due
    said = [line for line in ran.err.splitlines() if "it is put back" in line]
    who, when = {
        "at_import": ("The plugin 'local' (", "when it is loaded"),
        "construct": ("The encoder 'mine' changes", "when it is constructed"),
    }[place]
    assert all(line.startswith(f"Warning: {who}") and when in line for line in said)
    assert said
    assert changed() == []


@pytest.mark.stress
def test_a_part_that_seeds_does_not_decide_for_the_others(sandbox: Sandbox) -> None:
    """Of a part that seeds itself at construction, what is constructed after it still follows the recipe's seed."""
    found = set()
    for seed in (1, 2):
        ran = sandbox.run(plugin(construct="torch.manual_seed(0)"), "encoder", "--set", f"seed={seed}")
        assert "changes the seed of torch's generator when it is constructed" in ran.err
        Path("there").rename(f"seed{seed}")
        with safe_open(f"seed{seed}/model.safetensors", framework="pt") as file:
            found.add(tuple(file.get_tensor("head.0.weight").flatten().tolist()))
    assert len(found) == 2


@pytest.mark.parametrize(
    "change", [pytest.param(one, marks=[] if "seed" in one else pytest.mark.stress) for one in REFUSED]
)
def test_in_forward_it_is_refused(sandbox: Sandbox, change: str, changed: Callable[[], list[str]]) -> None:
    """What would change the numbers of others, or where they are written, ends the run with 4 and the part's name."""
    ran = sandbox.run(plugin(forward=change))
    assert ran.code == 4, ran.err
    assert f"The encoder 'mine' changes {REFUSED[change]} in its forward" in ran.said
    check_whole(Path("there"), 2)
    assert changed() == []


@pytest.mark.stress
@pytest.mark.parametrize("kind", ["fusion", "dropout"])
@pytest.mark.parametrize("change", REFUSED)
def test_so_it_is_in_a_fusion_and_a_policy(
    sandbox: Sandbox, kind: str, change: str, changed: Callable[[], list[str]]
) -> None:
    """The other kinds of part are looked at alike."""
    ran = sandbox.run(plugin(kind, forward=change), kind)
    assert (ran.code, f"The {kind} 'mine' changes {REFUSED[change]} in its forward" in ran.said) == (4, True), ran.err
    check_whole(Path("there"), 2)


@pytest.mark.stress
def test_the_rest_is_put_back_after_training(sandbox: Sandbox, changed: Callable[[], list[str]]) -> None:
    """What changes no number is put back when the model has done its work, and the parts are named."""
    rest = [change for change in CHANGES if change not in REFUSED and "device" not in change and "stderr" not in change]
    ran = sandbox.run(plugin(forward="\n".join(rest), when="self.step == 30"))
    assert ran.code == 0, ran.err
    (said,) = {line for line in ran.err.splitlines() if "it is put back" in line}
    assert "the encoder 'mine'" in said
    assert changed() == []
