"""Third parties, for real: wheels built, installed into a fresh environment, used by the program and uninstalled."""

import json
import os
import re
import shlex
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT, block, text_of

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{distribution}"
version = "1.0"
[project.entry-points.emotiwave]
"{entry}" = "{module}"
[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""


class Environment:
    """A virtual environment of its own, with Emotiwave from its wheel. Nothing is downloaded.

    It borrows what Emotiwave needs (torch and the rest) from the environment of the tests by a `.pth` file; that adds a
    folder to the path and does not read the `.pth` files in it, so the checkout cannot be seen.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.bin = folder / "bin"
        paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
        Path(paths["purelib"], "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        self.command("pip install --no-deps --ignore-installed .", ROOT)

    def command(self, line: str, at: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Type a command; it must end with this exit code."""
        program, *arguments = shlex.split(line)
        # pip and pytest are borrowed, and so have no scripts here.
        start = [self.bin / "python", "-m", program] if program in ("pip", "pytest") else [self.bin / program]
        settings = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "OMP_NUM_THREADS": "1"}
        inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PIP_FIND_LINKS")}
        done = subprocess.run(
            [*start, *arguments], cwd=at, env=inherited | settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done

    def plugins(self, at: Path) -> list[dict[str, Any]]:
        """What `emotiwave plugins` lists."""
        rows: list[dict[str, Any]] = json.loads(self.command("emotiwave plugins --json", at).stdout)
        return rows


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One fresh environment for all tests."""
    return Environment(tmp_path_factory.mktemp("fresh") / "environment")


@pytest.fixture(scope="session")
def crowd(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The environment with two rivals for the name `rival`, a squatter of `bilstm` and a plugin that does not load."""
    folder = tmp_path_factory.mktemp("crowd")
    environment.command("emotiwave plugins new encoder rival --single-file", folder)
    good = (folder / "rival.py").read_text()
    for distribution, entry, code in (
        ("emotiwave-one", "encoder.rival", good),
        ("emotiwave-two", "encoder.rival", good),
        ("squatter", "encoder.bilstm", good.replace('register("rival"', 'register("bilstm"')),
        ("emotiwave-broken", "encoder.broken", "import no_such_module\n"),
    ):
        module = distribution.replace("-", "_")
        (folder / distribution).mkdir()
        (folder / distribution / f"{module}.py").write_text(code)
        text = PYPROJECT.format(distribution=distribution, entry=entry, module=module)
        (folder / distribution / "pyproject.toml").write_text(text)
    environment.command("pip install ./emotiwave-one ./emotiwave-two ./squatter ./emotiwave-broken", folder)
    return environment


@pytest.mark.slow
def test_the_first_commands_and_the_package_of_the_guide_work(environment: Environment, tmp_path: Path) -> None:
    """The first block of docs/plugins.md makes a part that is found, and so does its pyproject.toml."""
    guide = text_of("docs/plugins.md")
    new, install, check, show, run = (line.partition("#")[0] for line in block(guide, "emotiwave").splitlines())
    assert (check.strip(), run.strip()) == ("emotiwave plugins check convnet", "emotiwave run --encoder convnet")
    environment.command(new, tmp_path)
    environment.command(install, tmp_path)
    assert "emotiwave-convnet 0.1.0" in environment.command(show, tmp_path).stdout
    environment.command("pip uninstall --yes emotiwave-convnet", tmp_path)

    project = tmp_path / "package"
    project.mkdir()
    (project / "pyproject.toml").write_text(block(guide, "# pyproject.toml"))
    (project / "emotiwave_convnet.py").write_text(block(guide, "# convnet.py"))
    for way in ("-e ./package --no-deps --no-build-isolation", "./package"):
        environment.command(f"pip install {way}", tmp_path)
        assert "Two convolutions over time" in environment.command(show, tmp_path).stdout
        environment.command("pip uninstall --yes emotiwave-convnet", tmp_path)


@pytest.mark.slow
def test_from_an_idea_to_an_installed_plugin_and_back(environment: Environment, tmp_path: Path, tiny: Path) -> None:
    """The commands that `plugins new` prints work as printed; an uninstalled name is answered with what to do."""
    written = environment.command("emotiwave plugins new encoder convnet", tmp_path)
    project = tmp_path / written.stdout.strip()
    printed = [line.strip() for line in written.stderr.split("Next:\n")[1].splitlines()]
    change, install, test, check, run = printed
    assert (change, check) == (f"cd {project.name}", "emotiwave plugins check convnet")  # below: it takes a minute
    environment.command(install, project)
    assert " passed" in environment.command(test, project).stdout
    row = next(row for row in environment.plugins(project) if row["name"] == "convnet")
    assert (row["state"], row["provider"]) == ("installed", "emotiwave-convnet 0.1.0")
    assert row["options"] == {"width": 64, "layers": 2, "kernel": 3}

    fast = f"--data {shlex.quote(str(tiny))} --set training.epochs=1"
    environment.command(f"{run} {fast} --out run", project)
    used = json.loads((project / "run" / "model.json").read_text())["plugins"]
    encoders = {tuple(part[key] for key in ("name", "distribution", "version")) for part in used[:3]}
    assert encoders == {("convnet", "emotiwave-convnet", "0.1.0")}

    other = environment.command("emotiwave plugins new fusion convnet", project).stderr
    assert "emotiwave-convnet 0.1.0 is installed; installing yours replaces it." in other

    environment.command("pip uninstall --yes emotiwave-convnet", tmp_path)
    gone = environment.command(f"{run} {fast}", tmp_path, code=2)
    assert "There is no encoder 'convnet'." in gone.stderr
    (tmp_path / "registry.toml").write_text('[encoder]\nconvnet = "emotiwave-convnet"\n')
    known = environment.command(f"{run} {fast}", tmp_path, code=4)
    assert "The encoder 'convnet' is not installed; it comes with: pip install emotiwave-convnet" in known.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_installed_plugin_is_checked(environment: Environment, tmp_path: Path) -> None:
    """`plugins check` finds an installed part sound as it was written, and broken once it reads masked steps."""
    environment.command("emotiwave plugins new fusion gate", tmp_path)
    project = tmp_path / "emotiwave-gate"
    environment.command("pip install -e .", project)
    assert "No law is broken" in environment.command("emotiwave plugins check gate", tmp_path).stdout
    module = project / "src" / "emotiwave_gate" / "__init__.py"
    sound = module.read_text()
    module.write_text(
        sound.replace("torch.where(present[:, column, None], encoded[name].pooled, 0.0)", "encoded[name].pooled")
    )
    assert module.read_text() != sound
    assert (
        "absent_content_does_not_matter" in environment.command("emotiwave plugins check gate", tmp_path, code=1).stdout
    )
    environment.command("pip uninstall --yes emotiwave-gate", tmp_path)
    assert "'gate'" in environment.command("emotiwave plugins check gate", tmp_path, code=2).stderr


@pytest.mark.slow
def test_installed_rivals_wait_for_a_choice(crowd: Environment, tmp_path: Path) -> None:
    """Two packages with one name are an error with a line for registry.toml, and that line decides."""
    recipe = '[recipe.mine]\nencoder = "rival"\n'
    (tmp_path / "registry.toml").write_text(recipe)
    disputed = crowd.command("emotiwave recipes show mine", tmp_path, code=4).stderr
    assert "offered by emotiwave-one and emotiwave-two" in disputed
    choice = re.search(r'rival = "[\w-]+"', disputed)
    assert choice
    (tmp_path / "registry.toml").write_text(f"[encoder]\n{choice[0]}\n{recipe}")
    assert 'name = "rival"' in crowd.command("emotiwave recipes show mine", tmp_path).stdout


@pytest.mark.slow
def test_a_squatter_and_a_broken_package_stop_nobody(crowd: Environment, tmp_path: Path) -> None:
    """The squatter is passed over and the broken one reported; the shipped parts and `--help` go on working."""
    rows = {(row["name"], row["provider"].partition(" ")[0]): row for row in crowd.plugins(tmp_path)}
    assert rows["bilstm", "squatter"]["state"] == "shadowed"
    assert rows["bilstm", "emotiwave"]["state"] == "installed"
    assert rows["uniform", "emotiwave"]["state"] == "installed"
    broken = rows["broken", "emotiwave-broken"]
    assert (broken["state"], "No module named 'no_such_module'" in broken["summary"]) == ("broken", True)
    asked = crowd.command("emotiwave plugins check broken", tmp_path, code=4)
    assert "No module named 'no_such_module'" in asked.stderr
    assert "plugins" in crowd.command("emotiwave --help", tmp_path).stdout
    assert 'name = "bilstm"' in crowd.command("emotiwave recipes show default", tmp_path).stdout
