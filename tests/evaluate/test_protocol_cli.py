"""`emotiwave evaluate --protocol`, and docs/protocols.md."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from documents import block, text_of
from short_suite import in_short
from training import small, start

from emotiwave_core.cli import exit_code_of
from emotiwave_core.cli.console import print_protocol
from emotiwave_core.evaluate import corruptions
from emotiwave_core.evaluate.corruptions import CONFIGURATIONS, corruption_names, find_corruption
from emotiwave_core.evaluate.corruptions.noise import normals
from emotiwave_core.report.page import render
from emotiwave_core.runs.contents import read_run
from emotiwave_core.runs.protocol_scores import Curve, OtherRun, ProtocolScores, read_protocol

GUIDE = text_of("docs/protocols.md")


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotiwave_core.report.page.write_report", lambda *_: None)  # pictures take seconds
        start(small(training={"epochs": 1}), tiny, folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be written into; its report says only which protocols it knows."""

    def report(run: Path) -> None:
        (run / "report.html").write_text(" ".join(path.name for path in (run / "protocols").glob("*.json")))

    monkeypatch.setattr("emotiwave_core.report.page.write_report", report)
    return Path(shutil.copytree(finished, tmp_path / "run"))


def typed(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """`emotiwave evaluate` with these arguments: the code, stdout and stderr."""
    code = exit_code_of(["evaluate", *map(str, arguments)])
    return code, *capfd.readouterr()


@pytest.mark.full
def test_several_protocols_are_scored_one_after_another(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each is kept, once; as JSON they are a list, and what is of one protocol alone is refused."""
    code, out, _ = typed(capfd, run, "--protocol", "swap", "--protocol", "shift", "--protocol", "swap", "--json")
    assert (code, [one["protocol"] for one in json.loads(out)]) == (0, ["swap", "shift"])
    assert {path.name for path in (run / "protocols").iterdir()} >= {"swap.json", "shift.json"}
    manifest = run / "protocols" / "swap.manifest.json"
    for more in (["--manifest", str(manifest)], ["--protocol", CONFIGURATIONS]):
        code, _, err = typed(capfd, run, "--protocol", "swap", "--protocol", "shift", *more)
        assert (code, "leave" in err) == (2, True)


@pytest.mark.parametrize("protocol", in_short(corruption_names(), "random", "swap"))
def test_a_protocol_is_printed_and_kept(run: Path, protocol: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A table with a row for each level, the sums below it, and two files and a new report; nothing else changes."""
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    code, out, err = typed(capfd, run, "--protocol", protocol)
    assert code == 0
    assert err.splitlines() == [f"Curves and manifest: {run / 'protocols'}"]
    result = json.loads((run / "protocols" / f"{protocol}.json").read_text())
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:2] == ["Tiny:", f"{protocol},"]
    assert rows[1] == ["level", *result["curves"]]
    for k, level in enumerate(find_corruption(protocol).levels):
        row = [word for word in rows[2 + k] if not word.startswith("(")]
        assert row == [f"{level:g}", *(f"{curve['macro_f1'][k]:.3f}" for curve in result["curves"].values())]
    assert [row[0] for row in rows[2 + k + 1 : 2 + k + 3]] == ["AUILC", "relative"]
    assert "effective" not in out
    assert f"{protocol}.json" in (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert sorted(path.name for path in (run / "protocols").iterdir()) == [
        f"{protocol}.json",
        f"{protocol}.manifest.json",
    ]


def test_json_is_what_is_kept(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """--json prints the content of NAME.json, with the other run's curves where there is one, and says no more."""
    code, out, err = typed(capfd, run, "--protocol", "swap", "--seed", "5", "--against", run, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found == json.loads((run / "protocols" / "swap.json").read_text())
    assert (found["format"], found["seed"], found["against"]["run"]) == (1, 5, "run")
    assert {curve["effective_robustness"] for curve in found["curves"].values()} == {0.0}


def test_another_fold_is_only_printed(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is not of the run's own test fold leaves nothing in the run."""
    code, out, err = typed(capfd, run, "--protocol", "frozen", "--fold", "valid", "--against", run)
    assert (code, err) == (0, "")
    assert "valid fold, 12 samples" in out
    code, out, _ = typed(capfd, run, "--protocol", "frozen", "--fold", "valid", "--json")
    assert (code, json.loads(out)["manifest"]) == (0, None)
    code, out, err = typed(capfd, run, "--protocol", "frozen", "--fold", "all", "--against", run)
    assert (code, err.count("24 of the 48 samples are those that")) == (0, 1)
    assert "Effective robustness is against run, which met the same manifest." in out
    assert "effective" in out
    assert not (run / "protocols").exists()


def curve(reached: list[float], effective_robustness: float | None = None) -> Curve:
    """A curve of three levels."""
    scores: Any = [0.5, 0.4, 0.3]
    areas: Any = {"auilc": 0.5, "relative_robustness": 0.5, "effective_robustness": effective_robustness}
    shares: Any = reached
    return Curve(levels=[0.0, 0.5, 1.0], reached=shares, score=scores, beside=scores, intervals=None, **areas)


def shown(capfd: pytest.CaptureFixture[str], protocol: str, *curves: Curve, **more: Any) -> list[str]:
    """The lines of `print_protocol`."""
    settings: dict[str, Any] = {"dataset": "Tiny", "synthetic": False, "fold": "test", "samples": 12, "seed": 0} | more
    named = dict(zip(("text", "audio"), curves, strict=False))
    files: dict[str, Any] = {"manifest": None, "manifest_sha256": ""}
    print_protocol(ProtocolScores(protocol=protocol, unit="delay", curves=named, **files, **settings))
    return [line.rstrip() for line in capfd.readouterr().out.splitlines()]


def test_what_is_not_damaged_is_not_called_robust(capfd: pytest.CaptureFixture[str]) -> None:
    """A curve that reached nothing has no areas and a note that says so; the others have theirs and none."""
    untouched, touched = (
        curve([0.0, 0.0, 0.0], effective_robustness=0.0),
        curve([0.0, 0.5, 1.0], effective_robustness=-0.1),
    )
    lines = shown(capfd, "shift", untouched, touched, against=OtherRun(run="other", curves={}))
    assert [line.split() for line in lines[5:8]] == [
        ["AUILC", "–", "0.500"],
        ["relative", "–", "0.500"],
        ["effective", "–", "-0.100"],
    ]
    assert lines[9:-1] == [
        "In 'text' nothing is damaged at any level (of one step a sample nothing can be shifted): its scores say "
        "nothing about robustness."
    ]
    assert "robustness" not in " ".join(shown(capfd, "shift", touched, touched))
    assert "in brackets" not in " ".join(shown(capfd, "swap", touched))
    assert shown(capfd, "swap", curve([0.0, 0.4, 1.0]))[-1].endswith("; in brackets the share that was reached.")


@pytest.mark.parametrize(
    ("dataset", "synthetic", "title"),
    [
        ("Synthetic sample (planted emotions)", True, "Synthetic sample (planted emotions): shift, all folds, 12"),
        ("Tiny", True, "Tiny: shift, all folds, 12 samples, seed 0 (synthetic)"),
        ("Tiny", False, "Tiny: shift, all folds, 12 samples, seed 0"),
    ],
)
def test_that_data_are_synthetic_is_said_once(
    dataset: str, synthetic: bool, title: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The title fits a terminal of 80 columns."""
    line = shown(capfd, "shift", curve([0, 1, 1]), dataset=dataset, synthetic=synthetic, fold="all")[0]
    assert line.startswith(title)
    assert line.lower().count("synthetic") == synthetic
    assert len(line) <= 80


@pytest.fixture
def muted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The corruption of the guide, in a file of its own."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "muted.py").write_text(block(GUIDE, "# muted.py"))
    monkeypatch.setattr(corruptions, "__path__", [*corruptions.__path__, str(tmp_path / "more")])
    monkeypatch.delitem(sys.modules, "emotiwave_core.cli.evaluate")  # its choices are those of when it is imported
    yield
    sys.modules.pop(f"{corruptions.__name__}.muted", None)


@pytest.mark.usefixtures("muted")
def test_a_corruption_is_one_new_file(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is offered, drawn, applied, checked, written, printed and shown in the report; nothing else names it."""
    assert "|muted|" in "".join(line.strip() for line in typed(capfd, "--help")[1].splitlines())
    code, out, _ = typed(capfd, run, "--protocol", "muted")
    assert code == 0
    scores = read_protocol(run, "muted")
    assert f"Level: {scores.unit}" in out
    assert [line.split()[0] for line in out.splitlines()[2:5]] == ["0", "0.5", "1"]
    assert list(scores.curves) == ["text", "audio", "visual", "text+audio+visual"]
    for curve in scores.curves.values():
        assert curve.reached == [0.0, pytest.approx(0.5, abs=0.2), 1.0]
    alone = scores.curves["text+audio+visual"]
    assert any(score != alone.beside[0] for score in alone.beside[1:])
    assert "Robustness under <b>muted</b>" in render(read_run(run), [])
    manifest = run / "protocols" / "muted.manifest.json"
    changed = run.parent / "changed.json"
    table = json.loads(manifest.read_text())
    table["since"]["text"][0] = "-" * table["steps"]["text"][0]
    changed.write_text(json.dumps(table))
    assert typed(capfd, run, "--protocol", "muted", "--manifest", manifest)[0] == 0
    code, _, err = typed(capfd, run, "--protocol", "muted", "--manifest", changed)
    assert (code, "cannot be used: a step is never muted." in err) == (3, True)


def test_configurations_is_what_evaluate_always_did(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The default protocol draws nothing and writes the scores of the run."""
    plain, named = (typed(capfd, run, *more, "--json") for more in ((), ("--protocol", CONFIGURATIONS)))
    assert plain == named
    assert json.loads(plain[1]) == json.loads((run / "scores.json").read_text())
    assert not (run / "protocols").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--protocol", "rain"], 2, "is not one of"),
        (["--seed", "1"], 2, "need a --protocol that draws something"),
        (["--against", "RUN"], 2, "need a --protocol that draws something"),
        (["--protocol", "noise", "--seed", "-1"], 2, "-1 is not in the range"),
        (["--protocol", "noise", "--manifest", "FILE", "--seed", "1"], 2, "leave --seed out"),
        (["--protocol", "noise", "--manifest", "nowhere"], 2, "does not exist"),
        (["--protocol", "noise", "--manifest", "FILE"], 3, "cannot be used: it is of the protocol 'frames', not noise"),
        (["--protocol", "noise", "--against", "EMPTY"], 3, "model.json"),
    ],
)
def test_a_wrong_word_is_one_sentence(
    run: Path, tmp_path: Path, arguments: list[str], code: int, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What does not fit together is said on stderr, with the exit code of its kind and nothing on stdout."""
    (tmp_path / "empty").mkdir()
    manifest = tmp_path / "frames.manifest.json"
    manifest.write_text('{"format": 1, "protocol": "frames"}')
    places = {"RUN": run, "FILE": manifest, "EMPTY": tmp_path / "empty"}
    found = typed(capfd, run, *(places.get(word, word) for word in arguments))
    assert found[:2] == (code, "")
    assert message in found[2]
    assert "Traceback" not in found[2]


def example(name: str) -> Any:
    """A code block of the guide, as a module."""
    module = ModuleType(name)
    exec(compile(block(GUIDE, f"# {name}.py"), name, "exec"), module.__dict__)
    return module


def test_the_examples_of_the_guide_run(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The reader of docs/protocols.md finds the gaps of a manifest, and its noise is the one that was added."""
    for protocol in ("frames", "noise"):
        assert typed(capfd, run, "--protocol", protocol)[0] == 0
    curve = json.loads((run / "protocols" / "frames.json").read_text())["curves"]["audio"]
    for level, reached in enumerate(curve["reached"]):
        left = example("read_manifest").masks(run / "protocols" / "frames.manifest.json", "audio", level)
        assert 1.0 - np.concatenate(list(left.values())).mean() == pytest.approx(reached, abs=1e-12)
    manifest = json.loads((run / "protocols" / "noise.manifest.json").read_text())
    found = example("redraw_noise").noise(manifest, "text", "v20[1]", 3)
    due = 1.5 * np.array(manifest["deviation"]["text"]) * normals(0, "text", "v20[1]", 4, 5)
    np.testing.assert_allclose(found, due, rtol=1e-12)


def test_the_guide_has_every_protocol() -> None:
    """Each protocol has a section of its own and a row with its first and last level."""
    for protocol in (CONFIGURATIONS, *corruption_names()):
        assert f"\n### {protocol}\n" in GUIDE
    for protocol in corruption_names():
        row = next(line for line in GUIDE.splitlines() if line.startswith(f"| `{protocol}` |"))
        assert row.split("|")[2].split()[0].rstrip(",") == "0"
        assert f"{find_corruption(protocol).levels[-1]:g}" in row.split("|")[2].split()
        together = "all together" in row.split("|")[4]
        assert together == find_corruption(protocol).all_together
