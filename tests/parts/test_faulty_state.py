"""Faulty plugins: what a plugin changes that all parts share is put back or refused, and said with its name."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_plugins import Sandbox, check_whole, plugin
from faulty_plugins import sandbox as sandbox
from safetensors import safe_open

from emotiwave_core.parts.guard import PutBack, preserve_global_state, shared_states

# What a plugin does, and what the line about it calls what it has changed.
CHANGES = {
    "os.chdir('/')": "the working folder",
    "torch.set_default_dtype(torch.float64)": "torch's default type",
    "torch.set_default_device('meta')": "torch's default device",
    "torch.set_grad_enabled(False)": "whether torch keeps gradients",
    "torch.use_deterministic_algorithms(True)": "torch's choice of deterministic algorithms",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)": "what Ctrl-C, SIGTERM and SIGHUP do",
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
NAMES = {"os": os, "random": random, "signal": signal, "np": np, "torch": torch}


@pytest.fixture
def changed() -> Iterator[Callable[[], list[str]]]:
    """Names of the shared state that is not as it was; it is put back for the other tests."""
    states = shared_states("anything")
    before = [state.read() for state in states]
    yield lambda: [state.name for state, old in zip(states, before, strict=True) if state.read() != old]
    for state, value in zip(states, before, strict=True):
        if state.read() != value:
            state.write(value)


@pytest.mark.parametrize("change", CHANGES | DRAWS)
def test_what_is_changed_is_put_back_and_said(change: str, changed: Callable[[], list[str]]) -> None:
    """Each thing is as it was after the guard, and the warning names who changed it and what."""
    with (
        pytest.warns(PutBack, match="The plugin 'mine'") as caught,
        preserve_global_state("The plugin 'mine'", "in the sandbox"),
    ):
        exec(change, NAMES)
    (warning,) = [one for one in caught if one.category is PutBack]
    assert f"changes {(CHANGES | DRAWS)[change]} in the sandbox" in str(warning.message)
    assert changed() == []


@pytest.mark.parametrize("place", ["at_import", pytest.param("construct", marks=pytest.mark.stress)])
def test_a_plugin_that_changes_everything_changes_no_run(
    sandbox: Sandbox, place: str, request: pytest.FixtureRequest
) -> None:
    """With all of it changed at import, or at construction, the model is bit for bit that of the sound plugin."""
    assert sandbox.run(plugin()).code == 0
    changed: Callable[[], list[str]] = request.getfixturevalue("changed")  # now that all modules of a run are loaded
    due = Path("there/model.safetensors").read_bytes()
    Path("there").rename("sound")
    ran = sandbox.run(plugin(**{place: "\n".join([*CHANGES, *DRAWS] if place == "at_import" else CHANGES)}))
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
    """The choice of algorithms is put back when the model has done its work, and the parts are named."""
    rest = "torch.use_deterministic_algorithms(True)"
    ran = sandbox.run(plugin(forward=rest, when="self.step == 30"))
    assert ran.code == 0, ran.err
    (said,) = {line for line in ran.err.splitlines() if "it is put back" in line}
    assert "the encoder 'mine'" in said
    assert changed() == []
