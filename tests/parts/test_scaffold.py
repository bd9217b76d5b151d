"""`emotiwave plugins new`: what it writes works, and what it refuses."""

import ast
import importlib
import importlib.util
import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import SkipTest

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typed_commands import Cli, typed_commands

from emotiwave_core.cli import exit_code_of
from emotiwave_core.config.flags import parse_part
from emotiwave_core.config.recipe import Part
from emotiwave_core.data.synthetic import sample
from emotiwave_core.data.synthetic.sample import write_sample
from emotiwave_core.errors import ResourceError, SettingsError
from emotiwave_core.parts.kinds import part_kind
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.parts.scaffold import NewPlugin, write_file, write_project
from emotiwave_core.testing import Contract

pytestmark = pytest.mark.usefixtures("warm_children")  # they start many processes

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["encoder", "fusion", "dropout"]
LONG = "a-name-of-forty-letters-that-is-too-long"


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Type `emotiwave plugins new …` in an empty folder: exit code, stdout, stderr."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return typed_commands(capfd, "plugins", "new")


NEW = {
    "encoder": "convnet",
    "word-encoder": "spoken",
    "fusion": "my-gate",
    "dropout": "x2",
    "objective": "smooth",
    "metric": "jaccard",
}


@pytest.mark.parametrize(("kind", "name"), NEW.items())
def test_a_new_plugin_keeps_every_law_by_its_own_test(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract in the written test file holds for the written part, law by law."""
    plugin = NewPlugin(kind, name)
    project = write_project(plugin, tmp_path)
    monkeypatch.syspath_prepend(str(project / "src"))
    spec = importlib.util.spec_from_file_location("written", project / "tests" / f"test_{plugin.module}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    contract: type[Contract] = getattr(module, f"Test{plugin.part}")
    kept = 0
    for law in contract.laws():
        try:
            law.check()
            kept += 1
        except SkipTest:  # there is no GPU
            continue
    assert kept > 10


@pytest.mark.short_rows(6)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["convnet", "my-convnet", "my_convnet", "x2", "encoder", "fused", "tensor", "callable"]
)
def test_a_single_file_is_a_plugin_under_any_name(cli: Cli, kind: str, name: str) -> None:
    """The file, and what stdout says for registry.toml, make a part that is found and made under its name."""
    code, out, err = cli(kind, name, "--single-file")
    assert code == 0, err
    file = tomllib.loads(out)["plugins"][name]
    assert sorted(path.name for path in Path.cwd().iterdir()) == [file]
    Path("registry.toml").write_text(out)
    part, origin, _ = load_registry().find(kind, name)
    assert Path(origin) == Path.cwd() / file
    arguments = {"encoder": (4,), "fusion": ({"text": 4, "audio": 2},), "dropout": ()}[kind]
    assert isinstance(part(*arguments), torch.nn.Module)
    options = parse_part(f"{name}:{part_kind(kind).example}")  # as its README says
    assert isinstance(load_registry().make(kind, Part(options.pop("name"), options), *arguments), part)


def test_nothing_of_the_users_is_touched(cli: Cli) -> None:
    """A registry.toml that is there stays as it is, and --folder leads to a path that works from here."""
    Path("registry.toml").write_text('[plugins]\nother = "other.py"\n')
    Path("other.py").touch()
    Path("sub folder").mkdir()
    code, out, err = cli("encoder", "convnet", "--single-file", "--folder", "sub folder")
    assert (code, "Add this line under [plugins] in ./registry.toml" in err) == (0, True)
    assert Path("registry.toml").read_text() == '[plugins]\nother = "other.py"\n'
    assert tomllib.loads(out) == {"plugins": {"convnet": "sub folder/convnet.py"}}
    assert "emotiwave plugins check 'sub folder/convnet.py'" in err


@pytest.mark.full
@pytest.mark.parametrize("single", [False, True])
def test_a_folder_that_is_not_there_is_made(cli: Cli, single: bool) -> None:
    """--folder may name a folder below others that are not there either; a file in its place is refused."""
    flags, written = (["--single-file"], "convnet.py") if single else ([], "emotiwave-convnet/pyproject.toml")
    code, _, err = cli("encoder", "convnet", "--folder", "one/two", *flags)
    assert (code, Path("one/two", written).is_file()) == (0, True), err
    Path("file").touch()
    code, _, err = cli("encoder", "convnet", "--folder", "file", *flags)
    assert (code, "file" in err) == (2, True)
    code, _, err = cli("encoder", "convnet", "--folder", "file/below", *flags)
    assert (code, "Cannot write file/below" in err) == (5, True), err


def test_a_project_says_how_it_is_found(cli: Cli) -> None:
    """The entry point is KIND.NAME of the group `emotiwave`, its module is there, and stdout is the folder."""
    code, out, err = cli("fusion", "my_gate")
    project = Path(out.strip())
    assert (code, project.name) == (0, "emotiwave-my-gate")
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert about["entry-points"]["emotiwave"] == {"fusion.my_gate": "emotiwave_my_gate"}
    assert (project / "src" / "emotiwave_my_gate" / "py.typed").is_file()
    readme = (project / "README.md").read_text()
    for line in err.split("Next:\n")[1].splitlines()[1:]:
        assert line.strip() in readme


@pytest.mark.full
def test_the_last_steps_of_an_encoder_of_words_run_as_printed(
    cli: Cli, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `plugins new` prints next writes a data set of words, here a small one, and trains with the new encoder."""
    monkeypatch.setattr(sample, "write_sample", partial(write_sample, videos=15))
    _, out, err = cli("word-encoder", "spoken", "--single-file")
    Path("registry.toml").write_text(out)
    steps = [line.split() for line in err.split("Next:\n")[1].splitlines()]
    write, run = [step for step in steps if step[1] != "plugins"]
    assert exit_code_of(write[1:]) == 0
    assert exit_code_of([*run[1:], "--out", "run", "--set", "training.epochs=1"]) == 0, capfd.readouterr().err
    encoders = tomllib.loads(Path("run/recipe.toml").read_text())["encoder"]
    assert "spoken" in str(encoders["text"])


@pytest.mark.parametrize("single", [True, False])
def test_what_exists_is_never_overwritten(cli: Cli, single: bool) -> None:
    """A file, a folder or a dangling link of the same name is refused with exit code 2 and left as it was."""
    target, flags = (Path("convnet.py"), ["--single-file"]) if single else (Path("emotiwave-convnet"), [])
    makers: list[Callable[[], None]] = [target.touch, target.mkdir, lambda: target.symlink_to("nowhere")]
    for make in makers:
        make()
        before = target.lstat()
        code, out, err = cli("encoder", "convnet", *flags)
        assert (code, out, f"{target} is already there" in err) == (2, "", True), err
        assert target.lstat() == before
        target.rmdir() if target.is_dir() else target.unlink()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("BiConvNet", "lower-case letters .* Did you mean 'biconvnet'"),
        ("my convnet", "Did you mean 'my-convnet'"),
        ("2x", "'2x' cannot be a name"),
        ("my--convnet", "Did you mean 'my-convnet'"),
        ("convnet-", "Did you mean 'convnet'"),
        ("../convnet", "Did you mean 'convnet'"),
        ("convnet.py", "Did you mean 'convnet-py'"),
        ("é", "'é' cannot be a name"),
        ("a" * 41, "40 at most"),
        ("lambda", "a word of Python"),
        ("random", "a module that others import"),
        ("torch", "a module that others import"),
        ("test", "a module that others import|pytest would take"),
        ("test-mine", "pytest would take"),
        ("emotiwave-convnet", "say 'convnet', not 'emotiwave-convnet'"),
    ],
)
def test_a_name_that_cannot_be_used_is_answered(cli: Cli, name: str, sentence: str) -> None:
    """A wrong name is refused with exit code 2 and a sentence, and nothing is written."""
    for flags in ([], ["--single-file"]):
        code, out, err = cli("encoder", name, *flags)
        assert (code, out) == (2, "")
        with pytest.raises(SettingsError, match=sentence):
            NewPlugin("encoder", name)
        assert err.count("\n") == 1
        assert list(Path.cwd().iterdir()) == []


@given(st.text(max_size=12) | st.from_regex("[a-z0-9_-]{1,45}", fullmatch=True))
def test_a_name_is_refused_or_right_everywhere(name: str) -> None:
    """Whatever passes is a module, a distribution and a class at once, and stays inside its folder."""
    try:
        plugin = NewPlugin("encoder", name)
    except SettingsError:
        return
    ast.parse(f"import {plugin.module}, {plugin.package}\nclass {plugin.part}: ...")
    assert plugin.part[0].isupper()
    assert set(plugin.distribution) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert Path(plugin.distribution).name == plugin.distribution
    assert not plugin.module.startswith("test")


def test_packages_of_emotiwave_cannot_be_taken() -> None:
    """No project can be called as a package that ships with Emotiwave."""
    packages = [path.name for folder in (ROOT, ROOT / "plugins") for path in folder.glob("emotiwave_*")]
    assert len(packages) >= 4
    for package in packages:
        with pytest.raises(SettingsError):
            NewPlugin("encoder", package.removeprefix("emotiwave_"))


def test_a_name_that_is_taken_is_said(cli: Cli) -> None:
    """A name that another distribution has is written with a note that says how to choose."""
    code, _, err = cli("encoder", "bilstm")
    assert (code, "Note: The encoder 'bilstm' is already that of emotiwave." in err) == (0, True), err
    assert 'put bilstm = "emotiwave-bilstm" under [encoder] in ./registry.toml' in err
    code, _, err = cli("encoder", "bilstm", "--single-file")
    assert (code, "of emotiwave gives way" in err) == (0, True), err
    assert "Note:" not in cli("fusion", "bilstm", "--folder", "emotiwave-bilstm")[2]


@pytest.mark.parametrize("write", [write_project, write_file])
def test_a_full_disk_leaves_nothing(write: Callable[[NewPlugin, Path], Path], tmp_path: Path) -> None:
    """What cannot be written whole is taken away again, and the error names the place."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))  # a file ends here, as on a full disk
    try:
        with pytest.raises(ResourceError, match=r"Cannot write .*convnet"):
            write(NewPlugin("encoder", "convnet"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_passes_ruff(tmp_path: Path) -> None:
    """ruff has nothing to say, of the code or of its format, whatever the name."""
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        for name in ("x", "my-convnet", LONG):
            write_project(NewPlugin(kind, name), tmp_path / kind)
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_is_written_passes_mypy(tmp_path: Path) -> None:
    """The code and its test are typed, by the strictest settings."""
    names = {"encoder": "convnet", "fusion": "my-gate", "dropout": "x2"}
    projects = [write_project(NewPlugin(kind, name), tmp_path) for kind, name in names.items()]
    # The checkout's cache, for a new one costs ten seconds for torch alone.
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache")]
    folders = [str(project / folder) for project in projects for folder in ("src", "tests")]
    done = subprocess.run([*mypy, *folders], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_span_that_is_lost_is_as_long_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The written policy takes one span of a long sequence, half of `share` in the long run, whatever the padding."""
    write_file(NewPlugin("dropout", "spans_of_steps"), tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    policy = importlib.import_module("spans_of_steps").SpansOfStepsDropout(share=0.6)
    torch.manual_seed(0)
    lengths = torch.randint(100, 200, (4000, 1))
    mask = torch.arange(250) < lengths
    after = policy({"text": mask}, torch.tensor(0.5))["text"]
    lost = mask & ~after
    starts = (lost[:, 1:] & ~lost[:, :-1]).sum(1) + lost[:, 0]
    assert int(starts.max()) == 1
    share = (lost.sum(1) / lengths[:, 0]).double()
    assert float(share.mean()) == pytest.approx(0.3, abs=0.01)  # the mean of 4000 draws is within 0.003
    assert 0.58 < float(share.max()) <= 0.61
