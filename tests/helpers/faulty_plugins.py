"""Faulty plugins, each sound but for one thing, and a folder in which the command line meets them."""

import json
import textwrap
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors import safe_open
from trusted import trust_here

from emotiwave_core.cli import exit_code_of
from emotiwave_core.io.atomic import sha256_of

EPOCHS = 3  # of 24 samples, two a batch: 12 steps each
LATE = 30  # a step in the last epoch: two are kept by then

HEAD = """
import os, random, signal, sys, time, warnings
import numpy as np
import torch
from torch import Tensor, nn
from emotiwave_core import Encoded, Encoder, Fused, Fusion, DropoutPolicy, hookimpl
from emotiwave_core.layers.sequence import masked_mean, zero_masked
"""
ENCODER = """
class Mine(Encoder):
    def __init__(self, in_features: int, *, width: int = 4) -> None:
        super().__init__()
        self.out_features = width
        self.net = nn.Linear(in_features, width)
        self.step = 0
        {construct}

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        self.step += self.training
        states = zero_masked(self.net(zero_masked(x, mask)), mask)
        one = Encoded(states, masked_mean(states, mask), mask)
        if {when}:
            {forward}
        return one

@hookimpl
def register_encoders(register):
    {hook}
    register("mine", Mine)
"""
FUSION = """
class Mine(Fusion):
    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__()
        self.out_features = 4
        self.nets = nn.ModuleDict({{m: nn.Linear(width, 4) for m, width in in_features.items()}})
        self.step = 0
        {construct}

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        self.step += self.training
        one = Fused(torch.stack([net(encoded[m].pooled) for m, net in self.nets.items()]).sum(dim=0))
        if {when}:
            {forward}
        return one

@hookimpl
def register_fusions(register):
    {hook}
    register("mine", Mine)
"""
POLICY = """
class Mine(DropoutPolicy):
    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        {construct}

    def forward(self, masks, progress):
        self.step += self.training
        one = dict(masks)
        if {when}:
            {forward}
        return one

@hookimpl
def register_dropout_policies(register):
    {hook}
    register("mine", Mine)
"""
KINDS = {"encoder": ENCODER, "fusion": FUSION, "dropout": POLICY}
RAISES = {
    "RuntimeError": 'raise RuntimeError("it is sick")',
    "SystemExit": "sys.exit(0)",
    "Stop": 'class Stop(BaseException): pass\nraise Stop("it has enough")',
    "GeneratorExit": "raise GeneratorExit",
}
FLAGS = {"encoder": "text=mine", "fusion": "mine", "dropout": "mine"}


def plugin(
    kind: str = "encoder",
    *,
    at_import: str = "",
    construct: str = "pass",
    forward: str = "pass",
    hook: str = "pass",
    when: str = f"self.step >= {LATE}",
) -> str:
    """A plugin's file: sound, but for the lines that stand at one of these places."""
    indented = {"construct": construct, "forward": forward, "hook": hook}
    depth = {"construct": 8, "forward": 12, "hook": 4}
    filled = {name: textwrap.indent(code, " " * depth[name]).strip() for name, code in indented.items()}
    return HEAD + at_import + "\n" + KINDS[kind].format(when=when, **filled)


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Its last line on stderr: the error, where there is one."""
        return (self.err.strip().splitlines() or [""])[-1]


class Sandbox:
    """An empty folder in which the command line meets a plugin; the run is in `there`."""

    def __init__(self, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.data, self.capfd, self.files = data, capfd, 0

    def holds(self, code: str) -> str:
        """The plugin `local` is this code from now on: a file of its own, as a new process would read it."""
        self.files += 1
        Path(f"mine{self.files}.py").write_text(code)
        Path("registry.toml").write_text(f'[plugins]\nlocal = "mine{self.files}.py"\n')
        trust_here()
        return f"mine{self.files}.py"

    def call(self, *arguments: str) -> Ran:
        """The command line, in this process."""
        self.capfd.readouterr()
        code = exit_code_of(list(arguments))
        return Ran(code, *self.capfd.readouterr())

    def run(self, code: str, kind: str = "encoder", *more: str) -> Ran:
        """Train with a part of this code."""
        self.holds(code)
        return self.call(*command(self.data, kind), *more)

    def resume(self, code: str) -> Ran:
        """Go on with a part of this code."""
        self.holds(code)
        return self.call("run", "--resume", "there")


def command(data: Path, kind: str) -> list[str]:
    """`emotiwave run` with a part of this kind that is called `mine`, on everything else that is small."""
    parts = {"--encoder": "mean:width=4", "--fusion": "concat", "--dropout": "uniform"}
    if kind != "encoder":  # else the other modalities have the sound one
        del parts[f"--{kind}"]
    settings = (f"training.epochs={EPOCHS}", "training.batch_size=2", "model.head=8")
    flags = [word for pair in parts.items() for word in pair] + [f"--{kind}", FLAGS[kind]]
    flags += [word for setting in settings for word in ("--set", setting)]
    return ["run", "--data", str(data), *flags, "--out", "there"]


@pytest.fixture
def sandbox(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sandbox:
    """A sandbox in a folder of its own. Reports have no pictures, which take longer than the rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])
    return Sandbox(tiny, capfd)


def check_whole(run: Path, epochs: int, of: int = EPOCHS) -> None:
    """The files of a run that was stopped in an epoch are those of the last whole one."""
    assert tomllib.loads((run / "recipe.toml").read_text())["training"]["epochs"] == of
    assert json.loads((run / "data.json").read_text())["folder"]
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == list(range(1, epochs + 1))
    for name in ("last.safetensors", "model.safetensors"):
        with safe_open(run / name, framework="pt") as file:
            assert all(file.get_tensor(key).isfinite().all() for key in file.keys())  # noqa: SIM118
    assert json.loads((run / "model.json").read_text())["weights_sha256"] == sha256_of(run / "model.safetensors")
    assert not list(run.rglob("*.part"))


def check_ended(run: Path, epochs: int = EPOCHS) -> None:
    """A run that went on to its end."""
    check_whole(run, epochs, epochs)
    assert json.loads((run / "scores.json").read_text())["mean_macro_f1"] >= 0.0
    assert (run / "report.html").exists()
