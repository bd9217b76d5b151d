"""The mistakes of a first plugin, met through `emotiwave run`: each is named, and none costs the folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from trusted import trust_here

from emotiwave_core.cli import exit_code_of
from emotiwave_core.train import checkpoint

ENCODER = """
from torch import Tensor, nn
from emotiwave_core import Encoded, Encoder, hookimpl
from emotiwave_core.layers.sequence import masked_mean, zero_masked

class Mine(Encoder):
    def __init__(self, in_features: int, *, width: int = 4) -> None:
        super().__init__()
        self.out_features = width
        self.net = nn.Linear(in_features, width)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = zero_masked(self.net(zero_masked(x, mask)), mask)
        return Encoded(states, masked_mean(states, mask), mask)

@hookimpl
def register_encoders(register):
    register("mine", Mine)
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])


@pytest.fixture
def run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`emotiwave run --out there` with an encoder file of this code; (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)
    Path("registry.toml").write_text('[plugins]\nlocal = "mine.py"')
    number = 0

    def call(code: str, *arguments: str) -> tuple[int, str]:
        nonlocal number
        number += 1  # a file of its own each time, as a new process would read it
        Path(f"mine{number}.py").write_text(code)
        Path("registry.toml").write_text(f'[plugins]\nlocal = "mine{number}.py"')
        trust_here()
        command = ["run", "--data", str(tiny), "--set", "training.epochs=1", "--out", "there"]
        answer = exit_code_of([*command, *(arguments or ("--encoder", "mine"))])
        return answer, capfd.readouterr().err

    return call


@pytest.mark.short_rows(2)
@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        (
            "return Encoded(states, masked_mean(states, mask), mask)",
            "return states",
            "Mine returns Tensor where Encoded",
        ),
        ("self.out_features = width", "self.width = width", "Mine does not set self.out_features"),
        ("nn.Linear(in_features", "nn.Linear(99", "The encoder 'mine' fails in"),
        ("nn.Linear(in_features", "nn.Linear(99", "`emotiwave plugins check mine` says more"),
        ('register("mine", Mine)', 'register("mine", Mine(3))', "it is an instance of Mine"),
        ("@hookimpl", "", "lacks the decorator @hookimpl"),
        ("def register_encoders", "def register_encoder", "Did you mean 'register_encoders'?"),
        ("width: int = 4", "width=4", "the option 'width' needs a type, as in `width: int = 64`"),
    ],
)
def test_a_mistake_is_named_and_the_folder_is_free_again(run: Run, wrong: str, right: str, sentence: str) -> None:
    """A wrong plugin leaves with 2 or 4 and its sentence; mended, the same command with the same --out runs."""
    assert wrong in ENCODER
    code, err = run(ENCODER.replace(wrong, right))
    assert code in (2, 4)
    assert sentence in err
    assert "Traceback" not in err
    code, err = run(ENCODER)
    assert code == 0, err
    assert "the encoder 'mine' is of" in err


def test_a_typo_names_ones_own_parts_too(run: Run) -> None:
    """The choices of an unknown name hold what local files offer."""
    code, err = run(ENCODER, "--encoder", "mien")
    assert (code, "Did you mean 'mine'?" in err) == (2, True), err


def test_an_encoder_for_one_modality_alone_frees_the_folder(run: Run) -> None:
    """A recipe without an encoder for a modality says so, and the corrected command takes the same folder."""
    code, err = run(ENCODER, "--encoder", "text=mine")
    assert (code, "no encoder for 'audio'" in err) == (2, True), err
    assert run(ENCODER)[0] == 0


def test_the_test_fold_of_an_unfinished_run_is_not_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`evaluate` refuses a run whose training was stopped, and takes it after --resume."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "append_history", stopped)
        assert run(ENCODER)[0] == 130
    assert exit_code_of(["evaluate", "there"]) == 2
    assert "emotiwave run --resume there" in capfd.readouterr().err
    assert exit_code_of(["evaluate", "there", "--fold", "valid", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["fold"] == "valid"
    assert exit_code_of(["run", "--resume", "there"]) == 0
    assert exit_code_of(["evaluate", "there"]) == 0
