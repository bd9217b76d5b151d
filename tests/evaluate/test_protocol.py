"""A trained run under each protocol, held against plain forward passes over input rebuilt from the JSON alone."""

import functools
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import WIDTHS, write_dataset
from short_suite import in_short
from training import CPU, REGISTRY, evaluate, small, start

from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.data.loading.batch import gather
from emotiwave_core.errors import DataError, PluginError, SettingsError
from emotiwave_core.evaluate.corruption import Manifest
from emotiwave_core.evaluate.corruptions import corruption_names, find_corruption
from emotiwave_core.evaluate.manifest import draw_manifest
from emotiwave_core.evaluate.predict_corrupted import predict_corrupted
from emotiwave_core.evaluate.protocol import ProtocolRequest, evaluate_protocol, samples_of
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.predict.trained import TrainedRun, open_trained_run

RECIPES: dict[str, dict[str, Any]] = {
    "single": {},
    "other": {"encoder": {"name": "mean"}, "fusion": "gated", "training": {"batch_size": 5}},  # it asks who is present
    "aligned": {"data": {"align": 2.5}},
    "multi": {"objective": {"kind": "multi"}, "model": {"absent": "zeros"}, "data": {"max_steps": 12}},
}
# What takes long; the others are held to it by `make slow`.
ONE_OF_THEM = [name if name == "multi" else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs that have ended."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotiwave_core.report.page.write_report", lambda *_: None)  # pictures take seconds
        for name, tables in RECIPES.items():
            start(small(**{**tables, "training": {"epochs": 2, **tables.get("training", {})}}), tiny, folder / name)
    return folder


@pytest.fixture
def runs(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be written into."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda *_: None)
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def score(run: Path, protocol: str, monitor: Monitor = SILENT, **options: Any) -> dict[str, Any]:
    """Score a run under a protocol on the CPU."""
    write = options.pop("write", False)
    request = ProtocolRequest(protocol=protocol, **options)
    return evaluate_protocol(run, request, REGISTRY, Runtime(CPU, monitor), write=write).to_dict()


def opened(run: Path, protocol: str, seed: int = 0) -> tuple[TrainedRun, Manifest]:
    """A run, and a manifest drawn for it."""
    trained = open_trained_run(run, REGISTRY, SILENT)
    return trained, draw_manifest(find_corruption(protocol), samples_of(trained), seed)


def rebuilt(manifest: dict[str, Any], modality: str, sample: str, level: int, load: Any) -> tuple[Any, Any]:
    """What a sample has in a modality at a level, [T, F] and [T], by the JSON and none of Emotiwave's code."""
    place = manifest["samples"].index(sample)
    steps = manifest["steps"][modality][place]
    x, mask = load(modality, sample)
    if not steps:
        assert not mask.any()
        return x, mask
    if manifest["protocol"] == "noise":
        key = hashlib.sha256(f"noise\n{manifest['seed']}\n{modality}\n{sample}".encode()).digest()[:16]
        deviation = np.array(manifest["deviation"][modality])
        raw = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(2 * steps * len(deviation))
        u, v = (raw.reshape(2, steps, len(deviation)) >> 11) * 2.0**-53
        z = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)
        return x + manifest["levels"][level] * deviation * z, mask
    hit = np.array([c != "-" and int(c, 36) <= level for c in manifest["since"][modality][place]], dtype=bool)
    if manifest["protocol"] in ("random", "frames", "blocks"):
        return x, mask & ~hit
    if manifest["protocol"] == "frozen":
        whole = x.copy()
        for t in np.flatnonzero(mask):
            free = np.flatnonzero(mask[: t + 1] & ~hit[: t + 1])
            x[t] = whole[free[-1] if len(free) else np.flatnonzero(mask)[0]]
        return x, mask
    if manifest["protocol"] == "shift":
        late = hit.sum()
        x[late:], mask[late:], mask[:late] = x[~hit], mask[~hit], False
        return x, mask
    return load(modality, manifest["partners"][modality][place]) if hit[0] else (x, mask)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("name", ONE_OF_THEM)
@pytest.mark.parametrize("protocol", corruption_names())
def test_every_answer_is_that_of_the_plain_way(finished: Path, protocol: str, name: str) -> None:
    """At every level of every curve the model says what a forward pass says of one sample rebuilt from the JSON."""
    trained, drawn = opened(finished / name, protocol)
    answers = predict_corrupted(trained, drawn, Runtime(CPU))
    manifest = json.loads(drawn.to_bytes())
    store = trained.corpus.store

    def load(modality: str, sample: str) -> Any:
        row = store.ids.index(sample)
        return store.sequence(modality, row).numpy().astype(np.float64), store.present(modality, row).numpy().copy()

    for curve, some in find_corruption(protocol).curves_for(trained.model.modalities).items():
        for level in range(len(manifest["levels"])):
            pairs = [
                {m: rebuilt(manifest, m, store.ids[row], level if m in some else 0, load) for m in WIDTHS}
                for row in trained.fold.rows
            ]
            inputs, masks = {}, {}
            for m in WIDTHS:
                longest = max(len(one[m][0]) for one in pairs) + 1
                inputs[m] = torch.full((len(pairs), longest, WIDTHS[m]), torch.nan)  # what is lost is not read
                masks[m] = torch.zeros(len(pairs), longest, dtype=torch.bool)
                for place, one in enumerate(pairs):
                    x, mask = (torch.from_numpy(piece) for piece in one[m])
                    inputs[m][place, : len(x)] = torch.where(mask[:, None], x.float(), torch.nan)
                    masks[m][place, : len(mask)] = mask
            if trained.model.absent == "zeros":
                inputs, masks = ({m: one[:, :12] for m, one in both.items()} for both in (inputs, masks))
            with torch.inference_mode():
                due = trained.objective.answers(trained.model(inputs, masks).logits)
            np.testing.assert_allclose(answers.answers[curve][level], due, atol=5e-6)


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("name", ONE_OF_THEM)
@pytest.mark.parametrize("protocol", corruption_names())
def test_level_0_is_the_undamaged_score(finished: Path, protocol: str, name: str) -> None:
    """Every curve begins exactly where `emotiwave evaluate` finds the complete configuration."""
    due = evaluate(finished / name)["text+audio+visual"]
    found = score(finished / name, protocol)
    for curve in found["curves"].values():
        assert curve["macro_f1"][0] == due.macro_f1
        assert curve["accuracy"][0] == due.metrics["accuracy"]
        assert {len(curve[key]) for key in ("levels", "reached", "macro_f1", "accuracy", "intervals")} == {
            len(find_corruption(protocol).levels)
        }


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("protocol", in_short(corruption_names(), "random", "swap"))
def test_two_models_meet_identical_gaps(runs: Path, protocol: str) -> None:
    """Another model draws the same manifest, and scores alike on its own, on a file and where it is held against."""
    score(runs / "single", protocol, seed=7, write=True)
    files = runs / "single" / "protocols"
    manifest = files / f"{protocol}.manifest.json"
    own = score(runs / "other", protocol, seed=7, write=True)
    assert (runs / "other" / "protocols" / manifest.name).read_bytes() == manifest.read_bytes()
    assert score(runs / "other", protocol, manifest=manifest) == own | {"manifest": None}
    held = score(runs / "single", protocol, seed=7, against=runs / "other")
    assert held["against"]["run"] == "other"
    for name, curve in held["curves"].items():
        baseline = own["curves"][name]["macro_f1"]
        assert held["against"]["curves"][name] == {"macro_f1": baseline}
        f = curve["macro_f1"]
        due = sum(f[i] - (baseline[i] + f[0] - baseline[0]) for i in range(len(f)))
        assert curve["effective_robustness"] == pytest.approx(due, abs=1e-12)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("protocol", in_short(corruption_names(), "random", "swap"))
def test_a_manifest_read_again_gives_the_same_bytes(runs: Path, protocol: str, tmp_path: Path) -> None:
    """The files of a run that reads a manifest are byte for byte those of the run that drew it."""
    files = runs / "single" / "protocols"
    found = score(runs / "single", protocol, seed=3, write=True)
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    assert set(before) == {f"{protocol}.json", f"{protocol}.manifest.json"}
    assert json.loads(before[f"{protocol}.json"]) == json.loads(json.dumps(found))
    assert found["manifest_sha256"] == hashlib.sha256(before[found["manifest"]]).hexdigest()
    shutil.move(files, tmp_path / "kept")
    score(runs / "single", protocol, manifest=tmp_path / "kept" / f"{protocol}.manifest.json", write=True)
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.full
def test_reached_is_what_is_really_lost(finished: Path) -> None:
    """The measured rate of every curve, counted in the manifest; of `random` what was never there counts as gone."""
    for protocol in corruption_names():
        trained, drawn = opened(finished / "single", protocol)
        steps = {m: np.array(drawn.steps[m]) for m in WIDTHS}
        assert (steps["visual"] == 0).sum() == 2  # both samples of one video
        for curve, reached in predict_corrupted(trained, drawn, Runtime(CPU)).reached.items():
            some = WIDTHS if curve == "any" else curve.split("+")
            for level, found in enumerate(reached):
                texts = [text for m in some for text in drawn.since.get(m, [])]
                hits = sum(c != "-" and int(c, 36) <= level for text in texts for c in text)
                whole = sum(int(steps[m].sum()) for m in some)
                if protocol == "random":
                    hits, whole = hits + 2, 36
                elif protocol == "swap":
                    whole = sum(int((steps[m] > 0).sum()) for m in some)
                elif protocol == "noise":
                    hits = whole if level else 0
                assert found == hits / whole, (protocol, curve, level)


def test_reached_of_an_aligned_run_can_be_counted_in_the_manifest(finished: Path) -> None:
    """Of whole modalities it is in the manifest alone: 0 steps where all steps of an aligned store hold nothing."""
    trained, drawn = opened(finished / "aligned", "random")
    place_of = {sample: place for place, sample in enumerate(drawn.samples)}
    for m in WIDTHS:
        for row in trained.fold.rows:
            there = trained.corpus.store.present(m, int(row))
            due = len(there) if there.any() else 0
            assert drawn.steps[m][place_of[trained.corpus.store.ids[row]]] == due
            assert len(there) > 0
    gone = np.array([[steps == 0 for steps in drawn.steps[m]] for m in WIDTHS])
    assert gone.sum() == 2
    for level, reached in enumerate(predict_corrupted(trained, drawn, Runtime(CPU)).reached["any"]):
        lost = np.array([[c != "-" and int(c) <= level for c in drawn.since[m]] for m in WIDTHS])
        assert reached == (gone | lost).mean()
        assert not (gone & lost).any()
    _, swapped = opened(finished / "aligned", "swap")
    assert [swapped.partners[m].count(None) for m in WIDTHS] == gone.sum(axis=1).tolist()


@pytest.mark.parametrize("protocol", ["random", "noise"])
def test_areas_are_over_what_was_reached(finished: Path, protocol: str) -> None:
    """The areas of `random` are over the measured rate, which stops short of 0.7; all others are over the levels."""
    for curve in score(finished / "single", protocol)["curves"].values():
        rates = np.array(curve["reached" if protocol == "random" else "levels"])
        area = np.trapezoid(curve["macro_f1"], rates)
        assert curve["relative_robustness"] == pytest.approx(area)
        assert curve["auilc"] == pytest.approx(area / (rates[-1] - rates[0]))
        assert (curve["levels"][-1] == pytest.approx(rates[-1])) == (protocol == "noise")


def test_only_what_is_damaged_is_encoded_again(finished: Path) -> None:
    """For four curves of eleven levels an encoder is called once a batch undamaged and once a level damaged."""
    trained, drawn = opened(finished / "single", "frames")
    calls: Counter[str] = Counter()
    for m, encoder in trained.model.encoders.items():
        encoder.register_forward_hook(lambda *_, m=m: calls.update([m]))
    predict_corrupted(trained, drawn, Runtime(CPU))
    assert calls == dict.fromkeys(WIDTHS, 2 * 11)  # 12 samples in batches of 8; nothing is lost at level 0


def test_noise_is_of_the_training_folds_deviations(runs: Path, tiny: Path) -> None:
    """The deviations are those of NumPy over the training videos, and a constant feature gets none."""
    trained, drawn = opened(runs / "single", "noise")
    store = trained.corpus.store
    videos = json.loads((tiny / "folds.json").read_text())["train"]
    rows = [row for row, video in enumerate(store.videos) if video in videos]
    for m in WIDTHS:
        values = np.concatenate([store.sequence(m, row).numpy() for row in rows]).astype(np.float64)
        np.testing.assert_allclose(drawn.deviation[m], values.std(axis=0), rtol=1e-5)
    store.values["audio"][:, 2] = 1.5
    assert [value > 0.0 for value in samples_of(trained).deviation("audio")] == [True, True, False, True]


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("protocol", corruption_names())
def test_an_absent_modality_is_never_read(finished: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers are the same where padding and what is missing hold NaN."""
    trained, drawn = opened(finished / "single", protocol)
    before = predict_corrupted(trained, drawn, Runtime(CPU)).answers

    def poisoned(*arguments: Any) -> Any:
        x, mask = gather(*arguments)
        return torch.where(mask.unsqueeze(-1), x, torch.nan), mask

    monkeypatch.setattr("emotiwave_core.data.loading.batch.gather", poisoned)
    monkeypatch.setattr("emotiwave_core.evaluate.predict_corrupted.gather", poisoned)
    for curve, answers in predict_corrupted(trained, drawn, Runtime(CPU)).answers.items():
        assert np.array_equal(answers, before[curve])


def test_a_model_that_says_nan_is_one_sentence(finished: Path) -> None:
    """Where a part breaks down under damage, no score is made of it."""
    trained, drawn = opened(finished / "single", "noise")
    for parameter in trained.model.head.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    with pytest.raises(PluginError, match="says NaN of damaged samples"):
        predict_corrupted(trained, drawn, Runtime(CPU))


def test_another_fold_or_data_set_can_be_damaged(runs: Path, tmp_path: Path) -> None:
    """A protocol is drawn for the samples that are asked for."""
    (tmp_path / "more").mkdir()
    found = score(runs / "single", "frames", data=write_dataset(tmp_path / "more", videos=8, seed=3), fold="all")
    assert (found["samples"], found["fold"]) == (16, "all")
    assert score(runs / "single", "frames", fold="valid")["samples"] == 12
    assert found["manifest"] is None  # there is no such file
    assert not (runs / "single" / "protocols").exists()


class Heard(Monitor):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)


@pytest.mark.slow
def test_samples_of_the_training_are_counted(runs: Path, tiny: Path, tmp_path: Path) -> None:
    """Scores of samples that were trained on say so, also in another folder with the same files, and no others do."""
    run, copy = runs / "single", Path(shutil.copytree(tiny, tmp_path / "copy"))
    about, folds = f"samples are those that {run} was trained on.", json.loads((tiny / "folds.json").read_text())

    def notes(**options: Any) -> list[str]:
        heard = Heard()
        score(run, "swap", heard, **options)
        assert evaluate(run, **options).notes == [line.removeprefix("Note: ") for line in heard.lines]
        return evaluate(run, **options).notes

    whole, part = len(folds["train"]) * 2, sum(map(len, folds.values())) * 2
    assert notes() == notes(fold="valid") == notes(data=copy) == []
    assert notes(fold="train") == notes(fold="train", data=copy) == [f"{whole} of the {whole} {about}"]
    assert notes(fold="all") == notes(fold="all", data=copy) == [f"{whole} of the {part} {about}"]
    (copy / "folds.json").write_text(json.dumps({**folds, "train": folds["test"], "test": folds["train"]}))
    assert notes(data=copy) == [
        f"{run} was trained on these files in other folds: some of the samples may be from its training."
    ]
    (tmp_path / "other").mkdir()
    assert notes(fold="train", data=write_dataset(tmp_path / "other", seed=5)) == []


@pytest.fixture
def fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that knows only some modalities."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda *_: None)

    def made(*modalities: str) -> Path:
        folder = tmp_path / "-".join(modalities)
        folder.mkdir()
        text = (write_dataset(folder) / "dataset.toml").read_text()
        for m in set(WIDTHS) - set(modalities):
            text = text.replace(f'{m} = "{m}.csd"\n', "")
        (folder / "dataset.toml").write_text(text)
        start(small(training={"epochs": 1}), folder, folder / "run")
        return folder / "run"

    return made


@pytest.mark.full
def test_random_needs_two_modalities(fewer: Any) -> None:
    """Of one nothing can be taken away; of two no level is scored beyond the one that takes away all that can go."""
    with pytest.raises(SettingsError, match=r"needs two; .*run has only text: --protocol frames\."):
        score(fewer("text"), "random")
    curve = score(fewer("text", "audio"), "random")["curves"]["any"]
    assert curve["levels"] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert curve["reached"][-1] == 0.5
    assert len(set(curve["reached"])) == 6


def test_a_seed_is_not_beyond_all_measure(runs: Path) -> None:
    """What is drawn can be read again, so its seed has the bounds of a manifest's."""
    assert score(runs / "single", "swap", seed=2**64 - 1)["seed"] == 2**64 - 1
    with pytest.raises(SettingsError, match="between 0 and 2\\^64 - 1"):
        score(runs / "single", "swap", seed=2**64)


def test_runs_of_other_samples_or_classes_are_not_compared(runs: Path) -> None:
    """Effective robustness needs the same samples and the same classes."""
    with pytest.raises(DataError, match=r"not scored on the same samples and classes \(12 and 12 samples\)"):
        score(runs / "single", "noise", against=runs / "multi")


@pytest.mark.full
def test_a_run_that_cuts_otherwise_is_not_compared(runs: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Effective robustness needs runs that read the same steps."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda *_: None)
    start(small(data={"max_steps": 3}, training={"epochs": 1}), tiny, runs / "cut")
    with pytest.raises(DataError, match=r"has 4 steps of text for 'v18\[0\]', and .*cut reads 3"):
        score(runs / "single", "noise", against=runs / "cut")


@functools.cache
def opened_once(run: Path) -> TrainedRun:
    """A run that no test writes into, opened for all of them."""
    return open_trained_run(run, REGISTRY, SILENT)


def changed(run: Path, protocol: str, change: Any) -> Path:
    """A manifest of a run, changed and written as JSON."""
    return edited(opened(run, protocol)[1], change, run.parent)


def edited(manifest: Manifest, change: Any, folder: Path) -> Path:
    """A manifest, changed and written as JSON into a folder."""
    table = json.loads(manifest.to_bytes())
    changed = change(table)
    table = table if changed is None else changed
    path = folder / "changed.json"
    text = table if isinstance(table, str | bytes) else json.dumps(table)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def put(*path: Any, value: Any) -> Any:
    """A change of one value."""

    def change(table: Any) -> None:
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("protocol", "change", "message"),
    [
        ("noise", lambda _: "{", "cannot be used: it is not JSON: "),
        ("noise", lambda _: "", "cannot be used: it is not JSON: "),
        ("noise", lambda _: b"P\x00\x01\xff\x00", "cannot be used: it is not UTF-8 text."),
        ("noise", lambda _: b"\x89HDF\r\n", "cannot be used: it is not UTF-8 text."),
        ("noise", lambda _: '{"format": 1, "a": {"b": 1, "c": 2, "b": 3}}', "it has the key 'b' twice"),
        ("noise", lambda _: "[" * 100_000, "nested too deeply"),
        ("noise", lambda _: "[1]", "is not a table"),
        ("noise", lambda _: '{"format": 1}', "is missing"),
        ("noise", put("format", value=2), "its format is 2, and this Emotiwave reads 1"),
        ("noise", put("protocol", value="frames"), "it is of the protocol 'frames', not noise"),
        ("noise", put("protocol", value=["noise"]), "is not a text"),
        ("noise", put("seed", value=-1), "its seed is below 0"),
        ("noise", put("seed", value=2**64), "or above 2^64 - 1"),
        ("noise", put("seed", value=1.5), "'seed': 1.5 is not a whole number"),
        ("noise", put("extra", value=1), "unknown key 'extra'"),
        ("noise", put("a\nb" * 1000, value=1), "unknown key 'a ba b"),
        ("noise", put("seed", value="7" * 10_000), "'seed': '777"),
        ("noise", put("recipe", value="other"), "its recipe is not known here"),
        ("noise", put("levels", value=[0.0]), "its levels are not 0 and up to 35 more"),
        ("noise", put("levels", value=[0.5, 1.0]), "its levels are not 0"),
        ("noise", put("levels", value=[0.0, 2.0, 1.0]), "its levels do not rise"),
        ("noise", put("levels", value=[0.0, float("nan")]), "it holds NaN, which is no number of JSON"),
        ("noise", put("levels", value=[0.0, 10**400]), "too large"),
        ("noise", put("deviation", "text", 0, value=-1.0), "a deviation is below 0"),
        ("noise", put("deviation", "text", value=[1.0]), "knows 1 features of text, and the data have 5"),
        ("noise", put("deviation", value={}), "its deviation are not of its modalities"),
        ("noise", put("since", value={"text": []}), "its since are not of its modalities"),
        ("frames", put("samples", value=[]), "its samples are not there"),
        ("frames", put("samples", 1, value="v18[0]"), "or not all different"),
        ("frames", put("modalities", value=["text"]), "its steps are not of its modalities"),
        ("frames", put("steps", "text", value=[1]), "'steps' of 'text' has 1 entries for 12 samples"),
        ("frames", put("steps", "text", 0, value=-1), "a number of steps of 'text' is below 0"),
        (
            "frames",
            put("since", "text", 0, value="0000"),
            "'since' of 'text' of 'v18[0]' must be 4 characters, each the",
        ),
        ("frames", put("since", "text", 0, value="bbbb"), "each the number of a level from 1 or '-'."),
        ("frames", put("since", "text", 0, value="1"), "must be 4 characters, each"),
        ("frames", put("since", "visual", 2, value="1"), "'since' of 'visual' of 'v19[0]' must be empty"),
        ("frames", put("levels", 10, value=1.5), "its level 1.5 is a share above 1"),
        ("swap", put("levels", 4, value=1.001), "its level 1.001 is a share above 1"),
        ("frames", put("since", "text", 0, value=None), "is not a text"),
        ("random", put("since", "text", 0, value="11"), "must be one character, the number of a level from 1 or '-'."),
        ("frozen", put("since", "text", 0, value="1---"), "a first step is frozen"),
        ("swap", put("partners", "text", 0, value="v18[0]"), "'v18[0]' cannot lend 'text' to 'v18[0]'"),
        ("swap", put("partners", "visual", 0, value="v19[0]"), "'v19[0]' cannot lend 'visual'"),
        ("swap", put("partners", "text", 0, value="../../etc"), "'../../etc' cannot lend"),
        ("swap", put("partners", value={}), "its partners are not of its modalities"),
    ],
)
def test_a_damaged_manifest_is_one_sentence(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str, change: Any, message: str
) -> None:
    """Whatever is wrong in a manifest is said in one short line, and nothing is scored or written."""
    run, trained = finished / "single", opened_once(finished / "single")
    monkeypatch.setattr("emotiwave_core.evaluate.protocol.open_trained_run", lambda *_, **__: trained)
    path = edited(draw_manifest(find_corruption(protocol), samples_of(trained), 0), change, tmp_path)
    with pytest.raises(DataError) as caught:
        score(run, protocol, manifest=path, write=True)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 400
    assert not (run / "protocols").exists()


@pytest.mark.full
def test_a_manifest_in_which_all_is_lost_is_not_random(runs: Path) -> None:
    """`random` leaves every sample a modality."""

    def change(table: Any) -> None:
        for m in WIDTHS:
            table["since"][m][0] = "1"

    with pytest.raises(DataError, match=r"'v18\[0\]' loses every modality"):
        score(runs / "single", "random", manifest=changed(runs / "single", "random", change))


def test_a_swap_without_a_partner_is_refused(runs: Path) -> None:
    """Who has no partner cannot be swapped."""

    def change(table: Any) -> None:
        table["partners"]["text"][0], table["since"]["text"][0] = None, "1"

    with pytest.raises(DataError, match=r"'v18\[0\]' has no partner in 'text'"):
        score(runs / "single", "swap", manifest=changed(runs / "single", "swap", change))


@pytest.mark.full
def test_a_manifest_of_other_samples_or_steps_is_refused(runs: Path) -> None:
    """Samples that it lacks, and steps that the data do not have, are named; more samples than needed are no harm."""
    more = score(runs / "single", "frames", fold="all")
    trained = open_trained_run(runs / "single", REGISTRY, SILENT, fold="all")
    path = runs / "all.json"
    path.write_bytes(draw_manifest(find_corruption("frames"), samples_of(trained), 0).to_bytes())
    assert more["manifest_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    part = score(runs / "single", "frames", manifest=path)
    assert part["curves"] == score(runs / "single", "frames")["curves"]
    with pytest.raises(DataError, match=r"lacks the sample 'v00\[0\]' of .*single: it was drawn for 12 samples of"):
        score(runs / "single", "frames", manifest=changed(runs / "single", "frames", lambda _: None), fold="all")

    def longer(table: Any) -> None:
        table["steps"]["text"][0], table["since"]["text"][0] = 5, "-----"

    with pytest.raises(DataError, match=r"has 5 steps of text for 'v18\[0\]', and .*single reads 4"):
        score(runs / "single", "frames", manifest=changed(runs / "single", "frames", longer))

    def renamed(table: Any) -> None:
        table["modalities"][0] = "words"
        for key in ("steps", "since"):
            table[key]["words"] = table[key].pop("text")

    with pytest.raises(DataError, match=r"is of the modalities \['words', 'audio', 'visual'\]"):
        score(runs / "single", "frames", manifest=changed(runs / "single", "frames", renamed))


def test_a_huge_manifest_is_not_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond all measure is refused by its size, and one that cannot be read by its reason."""
    path = changed(runs / "single", "noise", lambda _: None)
    monkeypatch.setattr("emotiwave_core.evaluate.manifest.MOST_BYTES", 10)
    with pytest.raises(DataError, match="is no manifest: it has more than"):
        score(runs / "single", "noise", manifest=path)
    with pytest.raises(DataError, match="Cannot read the manifest"):
        score(runs / "single", "noise", manifest=runs / "nowhere.json")
