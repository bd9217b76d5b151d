"""A run from a stranger cannot run code: nothing in its folder is executed, and nothing is written outside of it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_fixture import write_run
from report_page import Page
from training import small, start

from emotiwave_core.cli import exit_code_of
from emotiwave_core.errors import PassedOver
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.report.page import write_report

pytestmark = pytest.mark.usefixtures("warm_children")  # they start many processes

ROOT = Path(__file__).resolve().parents[2]
CODE = "import pathlib\npathlib.Path({fuse!r}).touch()\n"
NAMES = ("conftest.py", "sitecustomize.py", "usercustomize.py", "mean.py", "bilstm.py", "emotiwave_encoders.py")
NAMES = (*NAMES, "torch.py", "json.py", "numpy.py", "click.py", "recipe.py", "__init__.py", "__main__.py", "setup.py")


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run."""
    folder = tmp_path_factory.mktemp("trusted")
    start(small(training={"epochs": 1}), tiny, folder / "run")
    return folder / "run"


@pytest.fixture
def mined(trained: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run's folder with code in every place that might be loaded, and the file that any of it would make."""
    run, fuse = Path(shutil.copytree(trained, tmp_path / "run")), tmp_path / "gone off"
    for folder in (run, run / "protocols"):
        folder.mkdir(exist_ok=True)
        for name in NAMES:
            (folder / name).write_text(CODE.format(fuse=str(fuse)))
        (folder / "registry.toml").write_text('[plugins]\nmine = "mean.py"\n[recipe.default]\nencoder = "mean"\n')
        (folder / "matplotlibrc").write_text("backend: module://mean\ntext.usetex: True\n")
        (folder / "pyproject.toml").write_text("[tool.emotiwave]\n")
    point = run / "evil-1.0.dist-info"
    point.mkdir()
    (point / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (point / "entry_points.txt").write_text("[emotiwave]\nencoder.bilstm = mean\nwatch.mine = mean\n")
    return run, fuse


def ask(*arguments: object) -> int:
    """The program in this process, its exit code."""
    return exit_code_of([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "inside",
    ["run", pytest.param("", marks=pytest.mark.stress), pytest.param("run/protocols", marks=pytest.mark.stress)],
)
def test_no_code_of_a_run_is_run(
    mined: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], inside: str
) -> None:
    """Whatever code lies in a run's folder, no command on it runs any, from outside and from inside the folder."""
    run, fuse = mined
    monkeypatch.chdir(run.parent / inside)
    target = Path(os.path.relpath(run))
    for words in (["evaluate", target], ["explain", target], ["report", target], ["run", "--resume", target]):
        assert ask(*words) == 0, capfd.readouterr().err
    assert ask("plugins") == 0
    assert ask("recipes") == 0
    assert not fuse.exists()
    said = capfd.readouterr().err
    assert ("is passed over" in said) == bool(inside)


@pytest.mark.stress
def test_no_code_of_a_run_is_run_by_the_program(mined: tuple[Path, Path]) -> None:
    """The installed program too, with all that Python itself loads at its start."""
    run, fuse = mined
    program = Path(sys.prefix, "bin", "emotiwave")
    for words in (["evaluate", "."], ["report", "."], ["plugins", "--again"]):
        done = subprocess.run([program, *words], cwd=run, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert not fuse.exists()


def test_a_registry_in_a_run_is_passed_over(mined: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning names the file and the way out, and that way is one: a file that the user names is loaded."""
    run, fuse = mined
    monkeypatch.chdir(run)
    with pytest.warns(PassedOver, match=r"registry\.toml is passed over: .* --registry .*registry\.toml"):
        assert load_registry().files == {}
    named = load_registry(Path("registry.toml"))
    assert not fuse.exists()
    with pytest.warns(PassedOver, match="offers no part"):
        named.local_parts()
    assert fuse.exists()  # the code is one


def test_a_registry_beside_runs_counts(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that one works in is no run's, though it holds some: its registry.toml is taken as ever."""
    shutil.copytree(trained, tmp_path / "work" / "runs" / "one")
    (tmp_path / "work" / "registry.toml").write_text("[recipe.here]\nseed = 3\n")
    monkeypatch.chdir(tmp_path / "work")
    assert load_registry().recipe("here") == {"name": "here", "seed": 3}


@pytest.mark.parametrize("name", ["evil.py", "../evil.py", "evil"])
def test_a_description_cannot_name_code(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """A model.json whose encoder is a path, or whose `distribution` is one, loads nothing from there."""
    run, fuse = Path(shutil.copytree(trained, tmp_path / "run")), tmp_path / "gone off"
    for folder in (run, tmp_path):
        (folder / "evil.py").write_text(CODE.format(fuse=str(fuse)))
    monkeypatch.chdir(run)
    about = json.loads((run / "model.json").read_text())
    about["plugins"] = [one | {"distribution": name, "name": name} for one in about["plugins"]]
    (run / "model.json").write_text(json.dumps(about))
    assert ask("evaluate", ".", "--fold", "valid") == 0
    about["recipe"] |= {"encoder": {"name": name}, "watch": [name]}
    (run / "model.json").write_text(json.dumps(about))
    assert ask("evaluate", ".", "--fold", "valid") == 4
    assert f"the encoder '{name}'" in capfd.readouterr().err
    assert not fuse.exists()


LINKED = ("report.html", "scores.json", "predictions.csv", "explanation.json", "explanations.csv", "data.json")
LINKED = (
    *LINKED,
    "model-card.md",
    "configurations.png",
    "last.safetensors",
    "recipe.toml",
    "model.json",
    "model.safetensors",
)


@pytest.mark.parametrize(
    "names",
    [pytest.param(LINKED, id="results", marks=pytest.mark.stress), pytest.param((".lock",), id="lock"),
     pytest.param(("history.jsonl",), id="history", marks=pytest.mark.stress)],
)  # fmt: skip
def test_nothing_is_written_where_a_link_leads(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    """Links in a run's folder that lead out of it are replaced or refused: what they lead to stays as it was."""
    run, victim = Path(shutil.copytree(trained, tmp_path / "run")), tmp_path / "victim"
    kept = {}
    for name in names:
        kept[name] = (run / name).read_bytes() if (run / name).exists() else b""
        (tmp_path / f"victim of {name}").write_bytes(kept[name])
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(tmp_path / f"victim of {name}")
    victim.mkdir()
    (run / "protocols").symlink_to(victim)
    if "history.jsonl" in names:
        (run / "last.safetensors").unlink()  # it is trained from the start
    codes = [ask("run", "--resume", run), ask("evaluate", run), ask("evaluate", run, "--protocol", "random")]
    said = capfd.readouterr().err
    assert codes == {"report.html": [0, 0, 3], ".lock": [5, 5, 5], "history.jsonl": [0, 0, 3]}[names[0]], said
    assert "Internal error" not in said
    assert {name: (tmp_path / f"victim of {name}").read_bytes() for name in names} == kept
    assert list(victim.iterdir()) == []


HOSTILE = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"onmouseover="alert(1)', "'><b>",
    "javascript:alert(1)", "\u202egnp.exe", "a\u2028b\u2029c", "a\0b", "<!--", "]]>", "{{7*7}}", "&lt;i&gt;",
)  # fmt: skip


def texts(value: Any, hostile: str) -> Any:
    """A document with a hostile text added to each of its own that names nothing else in the files."""
    if isinstance(value, dict):
        return {key: texts(one, hostile) for key, one in value.items()}
    if isinstance(value, list):
        return [texts(one, hostile) for one in value]
    free = isinstance(value, str) and value not in FIXED and "+" not in value
    return f"{value}{hostile}" if free else value


FIXED = {"text", "audio", "visual", "happy", "sad", "anger", "surprise", "disgust", "fear", "single", "multi", "mean"}
FIXED |= {"test", "noise", "random", "right", "wrong", "changed", "probability", "logit", "complete", "video", "warn"}


def kinds(page: Page) -> set[tuple[str, str]]:
    """The tags of a page, each with its attributes."""
    return {(tag, name) for tag, name, _ in page.attributes}


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_report_escapes_every_text_of_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: str
) -> None:
    """Added to every free text of every file that a report shows, hostile text makes no tag, attribute or link."""
    monkeypatch.setattr("emotiwave_core.report.page.write_pictures", lambda _: ["configurations.png"])
    run = write_run(tmp_path / "run", each=2, epochs=2, notes=["one"])
    due = kinds(Page(write_report(run).read_text(encoding="utf-8")))
    for path in [*run.glob("*.json"), *run.glob("protocols/*.json")]:
        path.write_text(json.dumps(texts(json.loads(path.read_text()), hostile)))
    (run / "recipe.toml").write_text((run / "recipe.toml").read_text() + f"# {hostile}\n")
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert kinds(page) == due
    links = [value or "" for _, name, value in page.attributes if name in ("href", "src", "action", "formaction")]
    assert all(link.startswith("#") for link in links)
    assert not {"\u202e", "\0"} & set(page.html)
    scripts = page.html.split("<script")[1:]
    assert all("\u2028" not in one.split("</script", 1)[0] for one in scripts)
    assert page.html.count("<script") == page.html.count("</script") == len(scripts) == 2


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of our packages."""
    for folder in ("emotiwave_core", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


BARRED = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BARRED_CALLS = {"eval", "exec", "read_pickle"}


def last_name(function: ast.Name | ast.Attribute) -> str:
    """The name of a called function, without the module."""
    return function.id if isinstance(function, ast.Name) else function.attr


def test_no_module_unpickles_or_evaluates() -> None:
    """None of our modules imports pickle or its like, nor calls eval, exec, or torch.load without weights_only=True."""
    for path, tree in sources():
        for node in ast.walk(tree):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & BARRED, path
            if not isinstance(node, ast.Call):
                continue
            if not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            called = ast.unparse(node.func) if last_name(node.func) in {*BARRED_CALLS, "load"} else ""
            assert called not in BARRED_CALLS, (path, called)
            given = {word.arg: word.value for word in node.keywords}
            if called in ("torch.load", "numpy.load", "np.load"):
                safe = given.get("weights_only") if called == "torch.load" else given.get("allow_pickle")
                assert isinstance(safe, ast.Constant), (path, called)
                assert safe.value is (called == "torch.load"), (path, called)
