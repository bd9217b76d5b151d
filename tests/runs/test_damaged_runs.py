"""The files of a run that are damaged or hostile: read, or refused in one sentence."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest
import torch
from file_damage import SECONDS, changed, mangled, one_sentence, stand_ins, to_json
from forked import forked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_fixture import write_run
from training import REGISTRY, evaluate, resume, small, start

from emotiwave_core.config.options import signature_options
from emotiwave_core.errors import DataError, PluginError, SettingsError
from emotiwave_core.io.atomic import sha256_of
from emotiwave_core.parts.kinds import part_kind
from emotiwave_core.report.page import render
from emotiwave_core.runs.contents import read_run
from emotiwave_core.runs.data_file import DATA, read_data
from emotiwave_core.runs.history import HISTORY, cut_history, read_history
from emotiwave_core.runs.model_file import MODEL, ConfigurationCalibration, check_calibration
from emotiwave_core.runs.provenance import RUN, read_provenance
from emotiwave_core.runs.saved_model import WEIGHTS, load_model
from emotiwave_core.train.checkpoint import LAST, load_checkpoint

QUICK = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=200)
HASHED = 1 << 24  # bytes of zeros where all of them are hashed
MULTI = small(objective={"kind": "multi"}, training={"epochs": 2})


class Whole(NamedTuple):
    """A folder of files that are whole, and a copy of them to damage."""

    whole: Path
    copy: Path

    def damage(self, name: str, data: bytes) -> Path:
        """The copy, of which one file alone holds other bytes."""
        for path in self.whole.rglob("*"):
            if path.is_file() and (self.copy / path.relative_to(self.whole)).read_bytes() != path.read_bytes():
                shutil.copy(path, self.copy / path.relative_to(self.whole))
        (self.copy / name).write_bytes(data)
        return self.copy


def with_copy(folder: Path) -> Whole:
    """A folder and its copy beside it."""
    return Whole(folder, Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-copy"))))


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A trained run of several labels."""
    folder = tmp_path_factory.mktemp("damaged")
    start(MULTI, tiny, folder / "run")
    return with_copy(folder / "run")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run as its report reads it."""
    return with_copy(write_run(tmp_path_factory.mktemp("shown") / "run", each=2, epochs=3))


def read_last(run: Path) -> Any:
    """What training would go on from."""
    model = load_model(run, REGISTRY)[0]
    return load_checkpoint(run, model, torch.optim.AdamW(model.parameters()), None)


def read_lines(run: Path) -> Any:
    """The epochs, and those that a resume keeps."""
    lines = read_history(run)
    cut_history(run, 1)
    return lines


READ: dict[str, Callable[[Path], Any]] = {
    MODEL: lambda run: load_model(run, REGISTRY),
    WEIGHTS: lambda run: load_model(run, REGISTRY),
    LAST: read_last,
    DATA: read_data,
    HISTORY: read_lines,
    RUN: read_provenance,
}
SHOWN = (
    "model.json",
    "data.json",
    "scores.json",
    "explanation.json",
    "history.jsonl",
    "predictions.csv",
    "recipe.toml",
)
SHOWN = (*SHOWN, "protocols/noise.json")


def show(run: Path) -> str:
    """The page of a report, without its pictures."""
    return render(read_run(run), [])


def hold(files: Whole, name: str, read: Callable[[Path], Any], data: st.DataObject) -> None:
    """Damage one file of a run, its values or its bytes, and read the run."""
    whole = (files.whole / name).read_bytes()
    ways = [mangled(whole)]
    if name.endswith(".json"):
        ways.append(changed(json.loads(whole)).map(to_json))
    elif name == HISTORY:
        lines = [json.loads(line) for line in whole.splitlines()]
        ways.append(changed(lines).map(lambda some: b"\n".join(map(to_json, some if isinstance(some, list) else []))))
    run = files.damage(name, data.draw(st.one_of(ways)))
    found = one_sentence(
        lambda: read(run), run, "The encoder", "The fusion", "The dropout", "The option", "There is no ", "torch has"
    )
    if name in (WEIGHTS, LAST) and (run / name).read_bytes() != whole:
        assert found is None


@pytest.mark.short_rows(2)
@QUICK
@given(st.data())
@pytest.mark.parametrize("name", READ)
def test_a_damaged_run_is_read_or_refused(run: Whole, name: str, data: st.DataObject) -> None:
    """Whatever is changed in a file of a run, it is read or refused in one sentence; changed weights are refused."""
    hold(run, name, READ[name], data)


@pytest.mark.stress
@LONG
@given(st.data())
@pytest.mark.parametrize("name", READ)
def test_a_damaged_run_is_read_or_refused_at_length(run: Whole, name: str, data: st.DataObject) -> None:
    """The same, with very many changes."""
    hold(run, name, READ[name], data)


@pytest.mark.short_rows(2)
@QUICK
@given(st.data())
@pytest.mark.parametrize("name", SHOWN)
def test_a_report_is_made_or_refused(shown: Whole, name: str, data: st.DataObject) -> None:
    """Whatever is changed in a file that a report shows, there is a page or one sentence that names the run."""
    hold(shown, name, show, data)


@pytest.mark.stress
@settings(LONG, max_examples=100)
@given(st.data())
@pytest.mark.parametrize("name", SHOWN)
def test_a_report_is_made_or_refused_at_length(shown: Whole, name: str, data: st.DataObject) -> None:
    """The same, with very many changes."""
    hold(shown, name, show, data)


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("name", READ)
def test_what_is_no_file_of_a_run_is_refused(run: Whole, name: str) -> None:
    """A folder, a pipe, a loop of links, a device, a gigabyte of zeros in the place of a file: refused at once."""
    copy = run.damage(name, b"")
    for what in stand_ins(copy / name, HASHED if name.endswith(".safetensors") else 1 << 30):
        found = one_sentence(lambda: READ[name](copy), copy)
        assert found in (None, []), what  # a history that is empty or torn is no epoch


@pytest.mark.stress
@pytest.mark.parametrize("name", SHOWN)
def test_what_is_no_file_of_a_report_is_refused(shown: Whole, name: str) -> None:
    """The same, for the files that a report shows."""
    copy = shown.damage(name, b"")
    for what in stand_ins(copy / name):
        page = one_sentence(lambda: show(copy), copy)
        assert page is None or name in (HISTORY, "recipe.toml"), what


def edit(run: Whole, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The run with another model.json."""
    about = json.loads((run.whole / MODEL).read_text())
    change(about)
    return run.damage(MODEL, to_json(about))


def part(**options: Any) -> Callable[[dict[str, Any]], Any]:
    """Give the encoder some options."""
    return lambda about: about["recipe"]["encoder"].update(options)


HUGE = 10**9


def changed_source(about: dict[str, Any]) -> None:
    """An encoder of another size than its weights, whose code was another one."""
    part(hidden_size=100_000)(about)
    about["plugins"][0]["source_sha256"] = "0" * 64


@pytest.mark.short_rows(7)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (part(hidden_size=100_000), "was a plugin changed"),
        (changed_source, "is needed. The encoder 'bilstm' is not the one of the training (the source of emotiwave"),
        (part(layers=100_000), "far larger than"),
        (part(hidden_size=HUGE), "must be at most 1048576"),
        (part(layers=HUGE), "must be at most 1048576"),
        (lambda about: about["features"].update(text=HUGE), "'features' of 'text' is 1000000000"),
        (lambda about: about["features"].update(text=1 << 24), "was a plugin changed"),
        (lambda about: about["features"].update(text=-5), "'features' of 'text' is -5"),
        (lambda about: about["features"].update({"": 5}), "'' is no name"),
        (lambda about: about["features"].update({f"m{n}": 3 for n in range(40)}), "has 43 modalities"),
        (lambda about: about["steps"].update(text=0), "'steps' of 'text' is 0"),
        (lambda about: about["recipe"]["model"].update(head=1 << 20), "was a plugin changed"),
        (
            lambda about: about.update(targets=[f"t{n}" for n in range(100_000)], thresholds=None),
            "'thresholds' is None",
        ),
        (lambda about: about["thresholds"].pop("sad"), "not one from 0 to 1 for each class"),
        (lambda about: about["thresholds"].update(sad=float("nan")), "NaN, which is no number of JSON"),
        (lambda about: about["thresholds"].update(sad=1e999), "Infinity, which is no number"),
        (lambda about: about["thresholds"].update(sad="0.5"), "'thresholds['sad']' is wrong: float expected"),
        (lambda about: about["thresholds"].update(sad=1.5), "not one from 0 to 1 for each class"),
        (lambda about: about.update(thresholds=None), "'thresholds' is None"),
        (lambda about: about["recipe"]["objective"].update(kind="single"), "decides for one class"),
        (lambda about: about.update(targets=["a", "a"]), "'targets' is ['a', 'a']"),
        (lambda about: about.update(targets=["\ud800"]), "half of a character"),
    ],
)
def test_each_way_of_a_description_is_named(run: Whole, change: Callable[[dict[str, Any]], Any], says: str) -> None:
    """A model.json that would take all memory, all time, or give other answers without a word is refused."""
    with pytest.raises((DataError, PluginError, SettingsError)) as caught:
        load_model(edit(run, change), REGISTRY)
    assert says in str(caught.value)
    assert one_sentence(lambda: load_model(run.copy, REGISTRY)) is None


@pytest.mark.full
def test_levels_of_confidence_fall() -> None:
    """Confidences that rise again would let a run answer where it errs: such a model.json is refused."""
    falling = ConfigurationCalibration(4, 1.0, confidences=[0.9, 0.5, 0.5], risks=[0.0, 0.1, 0.2])
    check_calibration({"text": falling}, "single", ("text",), "model.json")
    rising = attrs.evolve(falling, confidences=[0.5, 0.9, 0.5])
    with pytest.raises(DataError, match="'calibration' of 'text' is not what a single run has"):
        check_calibration({"text": rising}, "single", ("text",), "model.json")


def test_weights_that_are_no_numbers_are_refused(run: Whole) -> None:
    """NaN among the weights is refused, also where model.json has the sum of them."""
    from safetensors.torch import load_file, save

    tensors = load_file(run.whole / WEIGHTS)
    tensors["head.0.weight"][0, 0] = float("nan")
    copy = run.damage(WEIGHTS, save(tensors))
    about = json.loads((copy / MODEL).read_text()) | {"weights_sha256": sha256_of(copy / WEIGHTS)}
    (copy / MODEL).write_bytes(to_json(about))
    with pytest.raises(DataError, match="no finite numbers"):
        load_model(copy, REGISTRY)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(("folder", "says"), [(3, "'folder'"), (None, "'folder'"), ({}, "'folder'"), ("", "not there")])
def test_data_must_name_a_folder(run: Whole, folder: object, says: str) -> None:
    """A data.json whose folder is no path is refused by its name, and the run stays as it was."""
    facts = json.loads((run.whole / DATA).read_text()) | {"folder": folder}
    copy = run.damage(DATA, to_json(facts))
    before = {path: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    with pytest.raises((DataError, SettingsError)) as caught:
        evaluate(copy, write=True)
    assert says in str(caught.value) or folder == ""
    assert {path: path.read_bytes() for path in before} == before


def test_a_history_that_is_torn_in_its_middle_is_told(run: Whole) -> None:
    """A last line that is torn is left out; one before it is refused, and no epoch after it is lost."""
    first, second = (run.whole / HISTORY).read_bytes().splitlines(keepends=True)
    assert len(read_history(run.damage(HISTORY, first + second[:-9]))) == 1
    copy = run.damage(HISTORY, first[:-9] + b"\n" + second)
    with pytest.raises(DataError, match=r"Line 1 of .* is damaged"):
        resume(copy)
    assert (copy / HISTORY).read_bytes().endswith(second)


def test_scores_do_not_hang_on_the_history(run: Whole) -> None:
    """A damaged history changes no prediction."""
    due = json.loads((run.whole / "scores.json").read_text())
    assert evaluate(run.damage(HISTORY, b"{}")).to_dict() == due


def rebuilt_from(folder: str, kind: str, name: str, option: str) -> int:
    """In a process of its own: load a run whose model.json asks for a gigantic option of a part."""
    run = Path(folder)
    about = json.loads((run / MODEL).read_text())
    about["recipe"][kind] = {"name": name, option: 1 << 20}
    (run / MODEL).write_bytes(to_json(about))
    try:
        load_model(run, REGISTRY)
    except (DataError, PluginError, SettingsError) as error:
        return 0 if len(str(error)) < 2100 else 1
    return 2


GIGANTIC = [
    (kind, name, option)
    for kind in ("encoder", "fusion")
    for name in REGISTRY.names_of(kind)
    for option, about in signature_options(REGISTRY.part(kind, name), part_kind(kind).positional).items()
    if about.kind is int
]


@pytest.mark.stress
@pytest.mark.parametrize(("kind", "name", "option"), GIGANTIC)
def test_a_gigantic_part_takes_no_memory(run: Whole, kind: str, name: str, option: str) -> None:
    """A model.json with any option of any shipped part at a million is refused at once and within 1 GiB."""
    copy = run.damage(MODEL, b"")
    shutil.copy(run.whole / MODEL, copy / MODEL)
    ended = forked(
        partial(rebuilt_from, str(copy), kind, name, option), folder=copy, seconds=10 * SECONDS, memory=1 << 30
    )
    assert (ended.code, ended.err) == (0, "")
