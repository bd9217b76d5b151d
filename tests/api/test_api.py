"""The Python face does what the command line does, with the same sentences, wherever it is called."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from broken_encoders import SoundEncoder, TooWide
from training import small

import emotiwave as ew
from emotiwave_core.cli import exit_code_of
from emotiwave_core.monitor import SILENT, Monitor, NotebookMonitor, TerminalMonitor, monitor_for_here

FLAGS = ["--encoder", "bilstm:hidden_size=4", "--set", "seed=1", "--set", "model.head=8", "--set", "training.epochs=3"]
FLAGS += ["--set", "training.batch_size=8", "--set", "training.learning_rate=1e-2"]


def test_the_import_is_light() -> None:
    """`import emotiwave` loads no library that takes long to import."""
    code = (
        "import emotiwave, sys; print({'torch', 'numpy', 'sklearn', 'h5py', 'matplotlib', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_every_name_is_documented() -> None:
    """All names of the face are there, and each function, class and method says what it does."""
    for name in ew.__all__:
        thing = getattr(ew, name)
        if name != "__version__":
            assert thing.__doc__, name
    assert all(method.__doc__ for name, method in vars(ew.Run).items() if name[0] != "_" and callable(method))


def test_python_and_the_command_line_leave_the_same_run(trained: ew.Run, tiny: Path, tmp_path: Path) -> None:
    """The same settings, said either way, give the same recipe, scores and predictions to the byte."""
    command = ["run", "--data", str(tiny), "--out", str(tmp_path / "run"), "--device", "cpu", *FLAGS]
    assert exit_code_of(command) == 0
    for name in ("recipe.toml", "scores.json", "predictions.csv", "explanation.json", "data.json"):
        assert (trained.folder / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name


def test_a_recipe_is_a_name_a_file_a_table_or_a_recipe(trained: ew.Run, tiny: Path) -> None:
    """However a recipe is said, it is the same; what is said beside it is laid over it, each table by its keys."""
    from emotiwave_core.api.arguments import open_registry
    from emotiwave_core.api.training import _recipe

    def made(recipe: Any, encoder: Any = None, **settings: Any) -> Any:
        return _recipe(recipe, open_registry(None), encoder, None, None, (), None, None, (), 1, settings)

    by_name = made("notebook")
    assert made(ew.recipes()["notebook"]) == made(by_name) == by_name
    assert made(str(trained.folder / "recipe.toml")).seed == 1
    over = made("notebook", training={"epochs": 3})
    assert (over.training.epochs, over.training.batch_size) == (3, by_name.training.batch_size)
    for encoder in (
        {"text": "bilstm:layers=2", "*": {"name": "mean"}},
        {"text": {"name": "bilstm", "layers": 2}, "*": "mean"},
    ):
        parts = made("default", encoder).encoder
        assert (parts["text"].name, parts["text"].options, parts["*"].name) == ("bilstm", {"layers": 2}, "mean")


@pytest.mark.parametrize(
    ("call", "command"),
    [
        (lambda data, out: ew.train(data, "nootbook", out=out), ["run", "nootbook", "--data", "DATA", "--out", "OUT"]),
        (
            lambda data, out: ew.train(data, encoder="bilstn", out=out),
            ["run", "--encoder", "bilstn", "--data", "DATA", "--out", "OUT"],
        ),
        (
            lambda data, out: ew.train(data, training={"epochs": 0}, out=out),
            ["run", "--set", "training.epochs=0", "--data", "DATA", "--out", "OUT"],
        ),
        (lambda data, out: ew.train(out.parent, out=out), ["run", "--data", "PARENT", "--out", "OUT"]),
        (
            lambda data, out: ew.train(data, out=out, device="tpu"),
            ["run", "--data", "DATA", "--out", "OUT", "--device", "tpu"],
        ),
        (lambda data, out: ew.open_run(out.parent).scores(), ["evaluate", "PARENT"]),
        (lambda data, out: ew.resume(out.parent), ["run", "--resume", "PARENT"]),
    ],
)
def test_errors_are_ours_with_the_sentence_of_the_command_line(
    call: Callable[[Path, Path], Any], command: list[str], tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is wrong raises an EmotiwaveError whose text and exit code are the command's, and leaves no folder."""
    out = tmp_path / "there" / "out"
    out.parent.mkdir()
    with pytest.raises(ew.EmotiwaveError) as caught:
        call(tiny, out)
    places = {"DATA": str(tiny), "OUT": str(out), "PARENT": str(out.parent)}
    assert exit_code_of([places.get(word, word) for word in command]) == caught.value.exit_code
    assert capfd.readouterr().err == f"Error: {caught.value}\n"
    assert list(out.parent.iterdir()) == []


def test_memory_that_runs_out_is_an_error_of_ours(trained: ew.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own error becomes a ResourceError that names the ways out."""

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr("emotiwave_core.predict.trained.TrainedRun.predict", fail)
    with pytest.raises(ew.ResourceError, match=r"Out of memory .* Lower training.batch_size"):
        trained.evaluate(fold="valid")


class Stopping(Monitor):
    """Ctrl-C, or the stop button of a cell, in the middle of the second epoch."""

    def __init__(self) -> None:
        self.steps = 0

    @contextmanager
    def _counted(self) -> Iterator[Callable[[], None]]:
        def step() -> None:
            self.steps += 1
            if self.steps == 5:
                signal.raise_signal(signal.SIGINT)

        yield step

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Count the steps of training."""
        return self._counted() if title.startswith("Epoch") else super().progress(title, total)


def test_a_stopped_cell_leaves_a_run_that_goes_on(trained: ew.Run, tiny: Path, tmp_path: Path) -> None:
    """After KeyboardInterrupt the run resumes, and ends as one that was never stopped; the handlers are as before."""
    handler = signal.getsignal(signal.SIGINT)
    stopping = Stopping()
    with pytest.raises(KeyboardInterrupt):
        ew.train(tiny, small(seed=1), out=tmp_path / "run", device="cpu", monitor=stopping)
    assert stopping.steps >= 5
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (tmp_path / "run" / "scores.json").exists()
    again = ew.open_run(tmp_path / "run", device="cpu").resume()
    assert (again.folder / "scores.json").read_bytes() == (trained.folder / "scores.json").read_bytes()


def test_who_stops_a_training_is_told_how_to_go_on(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that resumes is said where progress is shown."""

    class Heard(Stopping):
        said: list[str] = []  # noqa: RUF012

        def say(self, text: str) -> None:
            self.said.append(text)

    monkeypatch.setattr("emotiwave_core.api.training.monitor_for_here", Heard)
    with pytest.raises(KeyboardInterrupt):
        ew.train(tiny, small(), out=tmp_path / "run", device="cpu")
    assert Heard.said[-1] == f"Stopped. Continue with: emotiwave.resume({str(tmp_path / 'run')!r})"


def test_training_works_in_a_thread(trained: ew.Run, tiny: Path, tmp_path: Path) -> None:
    """Beside the main thread, where no signal handler can be set, a training gives the same scores."""
    runs: list[ew.Run] = []
    work = threading.Thread(
        target=lambda: runs.append(ew.train(tiny, small(seed=1), out=tmp_path / "run", device="cpu"))
    )
    work.start()
    work.join()
    assert (runs[0].folder / "scores.json").read_bytes() == (trained.folder / "scores.json").read_bytes()


def test_a_pipe_is_quiet(trained: ew.Run, capfd: pytest.CaptureFixture[str]) -> None:
    """Where neither a notebook nor a terminal shows it, nothing is printed."""
    assert monitor_for_here() is SILENT
    trained.evaluate(fold="valid")
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A kernel of IPython, as far as it is asked; what it has displayed."""
    shown: list[str] = []
    ipython, displays = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    displays.HTML = str  # type: ignore[attr-defined]

    def display(thing: str, display_id: bool) -> SimpleNamespace:
        shown.append(thing)
        return SimpleNamespace(update=shown.append)

    displays.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    return shown


def test_a_notebook_has_a_bar(notebook: list[str], trained: ew.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cell of Jupyter each stretch of work has a bar that moves, and is taken away at its end."""
    assert isinstance(monitor_for_here(), NotebookMonitor)
    monkeypatch.setattr("emotiwave_core.monitor.REDRAW", 0.0)
    trained.evaluate(fold="valid")
    assert '<progress value="0" max="2"></progress> <code>Scoring valid 0/2</code>' in notebook
    assert '<progress value="2" max="2"></progress> <code>Scoring valid 2/2</code>' in notebook
    assert notebook[-1] == ""


def test_what_a_notebook_shows_is_no_html(notebook: list[str]) -> None:
    """A title from a file is text there, whatever signs it holds."""
    with NotebookMonitor().progress("<b>mine</b>", 1):
        pass
    assert "&lt;b&gt;mine&lt;/b&gt; 0/1" in notebook[0]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is a terminal, the bar is a terminal's, also with IPython, which has no kernel there."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(monitor_for_here(), TerminalMonitor)
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert isinstance(monitor_for_here(), TerminalMonitor)


def test_what_a_run_answers_is_what_its_commands_say(trained: ew.Run, capfd: pytest.CaptureFixture[str]) -> None:
    """Explanations of the fold and of a sample, and robustness, are the JSON of `explain` and `evaluate --protocol`."""

    def said(*command: str) -> Any:
        capfd.readouterr()
        assert exit_code_of([*command, str(trained.folder), "--fold", "valid", "--device", "cpu", "--json"]) == 0
        return json.loads(capfd.readouterr().out)

    def plain(result: Any) -> Any:
        return json.loads(json.dumps(result if isinstance(result, dict) else result.to_dict()))

    assert plain(trained.explain(fold="valid")) == said("explain")
    assert plain(trained.explain("v12[0]", fold="valid")) == said("explain", "--sample", "v12[0]")
    noise = plain(trained.robustness("frames", fold="valid", against=trained))
    assert noise == said("evaluate", "--protocol", "frames", "--against", str(trained.folder))
    assert plain(trained.evaluate(fold="valid")) == said("evaluate")


@pytest.mark.usefixtures("warm_children")
def test_recipes_and_parts_are_those_that_are_listed() -> None:
    """Recipes come as tables by name, parts of one kind or of all with what is known of them."""
    assert "notebook" in ew.recipes()
    encoders = ew.parts("encoder")
    assert {part.kind for part in encoders} == {"encoder"}
    bilstm = next(part for part in encoders if part.name == "bilstm")
    assert (bilstm.state, bilstm.options["hidden_size"]) == ("installed", 128)
    assert bilstm.summary
    with pytest.raises(ew.SettingsError, match=r"There is no kind of part 'encoders'\. Did you mean 'encoder'"):
        ew.parts("encoders")


@pytest.mark.usefixtures("warm_children")
def test_a_class_is_held_to_its_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """A sound encoder breaks no law; a broken one exactly its own, each told with its cure; options are used."""
    sound = ew.check(SoundEncoder, width=8)
    assert sound.holds
    assert {law.holds for law in sound.laws} <= {True, None}
    assert all(law.message for law in sound.laws if law.holds is None)
    broken = ew.check(TooWide)
    assert {law.name for law in broken.broken} == set(TooWide.breaks)
    assert not broken.holds
    print(broken)
    told = capsys.readouterr().out
    assert all(f"BROKEN     {law.name}" in told and law.message in told for law in broken.broken)
    assert told.endswith(f"encoder TooWide: {len(broken.broken)} of {len(broken.laws)} laws broken\n")
    assert json.loads(json.dumps(broken.to_dict()))["holds"] is False


class Failing(SoundEncoder):
    """Its constructor fails."""

    def __init__(self, in_features: int, *, width: int = 4) -> None:
        super().__init__(in_features, width=width)
        raise ValueError("no")


def test_what_cannot_be_checked_is_said() -> None:
    """A class that is no part, an option that there is not, and a constructor that fails have their sentences."""
    with pytest.raises(ew.SettingsError, match="is not the class of a part"):
        ew.check(dict)
    with pytest.raises(ew.SettingsError, match="no option 'with'"):
        ew.check(SoundEncoder, **{"with": 3})
    with pytest.raises(ew.PluginError, match="fails at construction"):
        ew.check(Failing)
