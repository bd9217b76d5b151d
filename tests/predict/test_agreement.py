"""Agreement of two modalities: an exact world, samples of strangers, and a run that tells both."""

import csv
import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from training import CPU, small, start
from typed_commands import typed_commands

import emotiwave as ew
from emotiwave_core.errors import DataError
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.predict.agreement import FARTHEST, fit_of, log_agreement, pair_shares
from emotiwave_core.runs.model_file import PairAgreement, read_model_file
from emotiwave_core.train.fit_agreement import fit_agreements

pytestmark = pytest.mark.full
Array = NDArray[np.float64]
CLASSES, SIGNS = 3, 4


class World:
    """Two senses that are independent given the class: p(c), and p(sign | c) of each, all known."""

    def __init__(self, seed: int = 0, sharpness: float = 2.0) -> None:
        random = np.random.default_rng(seed)
        self.prior = random.dirichlet(np.full(CLASSES, 5.0))
        self.signs = random.dirichlet(np.full(SIGNS, 1.0 / sharpness), size=(2, CLASSES))  # [2, C, S]

    def posterior(self, sense: int) -> Array:
        """p(c | sign), [S, C]."""
        joint = self.prior[:, None] * self.signs[sense]
        return np.asarray((joint / joint.sum(axis=0)).T)

    def draw(self, count: int, seed: int = 0) -> tuple[Array, Array]:
        """What each sense alone answers about `count` samples, [N, C] each."""
        random = np.random.default_rng(seed)
        classes = random.choice(CLASSES, size=count, p=self.prior)
        told = [self.posterior(s)[[random.choice(SIGNS, p=self.signs[s, c]) for c in classes]] for s in (0, 1)]
        return told[0], told[1]


def test_it_is_the_ratio_of_the_joint_to_both_alone() -> None:
    """Summed over all classes by hand, log p(a, b) / (p(a) p(b)) of every two signs is what the answers give."""
    world = World()
    for a, b in product(range(SIGNS), repeat=2):
        first, second = world.signs[0, :, a], world.signs[1, :, b]
        joint = sum(p * one * other for p, one, other in zip(world.prior, first, second, strict=True))
        due = np.log(joint / ((world.prior @ first) * (world.prior @ second)))
        answers = (world.posterior(0)[[a]], world.posterior(1)[[b]])
        assert log_agreement(*answers, world.prior, multi=False) == pytest.approx(due)


def test_several_labels_are_worlds_of_two_classes_each() -> None:
    """With independent labels the ratio is the product of those of each label, present or absent."""
    random = np.random.default_rng(1)
    first, second, expected = random.uniform(0.05, 0.95, (3, 4))
    ratio = 1.0
    for p, q, e in zip(first, second, expected, strict=True):
        ratio *= p * q / e + (1 - p) * (1 - q) / (1 - e)
    assert log_agreement(first[None], second[None], expected, multi=True) == pytest.approx(np.log(ratio))


def known_of(world: World, samples: int = 4000) -> PairAgreement:
    """The agreement of a large validation fold of a world."""
    first, second = world.draw(samples, seed=9)
    present = np.ones((samples, 2), dtype=bool)
    recipe = small(objective={"kind": "single"})
    objective = make_objective(recipe.objective, ("a", "b", "c"))
    logits = np.log(np.maximum(np.stack([first, second, first]), 1e-12))
    fitted = fit_agreements(objective, logits, None, present, ("audio", "visual"))
    assert fitted is not None
    return fitted["audio+visual"]


@pytest.mark.parametrize("strangers", [0.0, 0.5, 1.0])
def test_the_fit_is_the_share_that_belongs_together(strangers: float) -> None:
    """Where a share of the samples has its second modality from another, the fit and its interval say what is left."""
    world = World()
    known, held = known_of(world), 0
    for seed in range(20):
        first, second = world.draw(400, seed)
        moved = np.arange(int(strangers * 400))
        second[moved] = second[np.roll(moved, 1)]
        told = fit_of(known, first, second, multi=False)
        assert told is not None
        low, high = told[1]
        assert low < told[0] < high
        held += low <= 1.0 - strangers <= high
    assert held >= 17  # 19 are expected
    assert fit_of(known, first[:19], second[:19], multi=False) is None


def test_one_in_two_hundred_of_validation_is_an_alarm() -> None:
    """Of the samples that it was fitted on at most .5 % are beyond the threshold, of strangers many times as many."""
    world = World(seed=2, sharpness=8.0)
    known = {"audio+visual": known_of(world)}
    first, second = world.draw(4000, seed=9)
    has = dict.fromkeys(("audio", "visual"), np.ones(4000, dtype=bool))
    own = pair_shares(known, {"audio": first, "visual": second}, has, multi=False)["audio+visual"]
    other = pair_shares(known, {"audio": first, "visual": np.roll(second, 1, axis=0)}, has, multi=False)["audio+visual"]
    assert (own > 1.0).mean() <= 0.005
    assert (other > 1.0).mean() > 10 * (own > 1.0).mean()
    lacking = has | {"visual": np.arange(4000) % 2 == 0}
    half = pair_shares(known, {"audio": first, "visual": second}, lacking, multi=False)["audio+visual"]
    assert np.isnan(half[1::2]).all()
    assert half[::2].tolist() == own[::2].tolist()


def test_what_is_farthest_is_a_finite_number() -> None:
    """Two modalities that are certain of different classes are beyond any threshold, by a number that JSON can hold."""
    known = {"audio+visual": PairAgreement(20, [0.5, 0.5], 5.0, 0.5, 0.0)}  # type: ignore[list-item]
    sure = {"audio": np.array([[1.0, 0.0]]), "visual": np.array([[0.0, 1.0]])}
    has = dict.fromkeys(sure, np.ones(1, dtype=bool))
    assert pair_shares(known, sure, has, multi=False)["audio+visual"].tolist() == pytest.approx([FARTHEST])


def test_a_modality_that_says_nothing_has_no_agreement() -> None:
    """With one answer for all samples, answers at random, below 20 samples, or numbers, nothing is known of a pair."""
    world, random = World(), np.random.default_rng(3)
    first, second = (np.log(np.maximum(one, 1e-12)) for one in world.draw(300))
    present, names = np.ones((300, 2), dtype=bool), ("audio", "visual")
    single = make_objective(small(objective={"kind": "single"}).objective, ("a", "b", "c"))
    for other in (np.zeros_like(second), random.normal(size=second.shape)):
        assert fit_agreements(single, np.stack([first, other, first]), None, present, names) == {}
    logits = np.stack([first, second, first])
    assert set(fit_agreements(single, logits, None, present, names) or {}) == {"audio+visual"}
    few = present & (np.arange(300) < 19)[:, None]
    assert fit_agreements(single, logits, None, few, names) == {}
    numbers = make_objective(small(objective={"kind": "regression"}).objective, ("a", "b", "c"))
    assert fit_agreements(numbers, logits, None, present, names) is None


def write_data(folder: Path, moved: float = 0.0, videos: int = 240) -> Path:
    """Audio and a face that tell the class, and text that does not; a share of the faces is of another video."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(4)
    names = [f"v{number:03d}" for number in range(videos)]
    classes = random.integers(0, 3, videos)
    whole = {name: np.array([[0.0, 4.0]]) for name in names}
    steps = {name: np.stack([np.arange(4.0), np.arange(4.0) + 1], axis=1) for name in names}
    made = {}
    for modality, strength in (("text", 0.0), ("audio", 2.0), ("visual", 2.0)):
        means = strength * np.eye(3, 6)[classes]
        made[modality] = means[:, None] + random.normal(size=(videos, 4, 6))
    faces = np.arange(int(moved * videos))
    made["visual"][faces] = made["visual"][np.roll(faces, 1)]
    for modality, features in made.items():
        ew.write_csd(folder / f"{modality}.csd", dict(zip(names, features.astype(np.float32), strict=True)), steps)
    ew.write_csd(
        folder / "labels.csd",
        {name: np.eye(3)[[c]] for name, c in zip(names, classes, strict=True)},
        whole,
        columns=["joy", "rage", "gloom"],
    )
    lines = ["[modalities]", *(f'{m} = "{m}.csd"' for m in made), "[labels]", 'file = "labels.csd"', 'kind = "classes"']
    (folder / "dataset.toml").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run whose audio and face agree."""
    folder = tmp_path_factory.mktemp("agreeing")
    recipe = small(
        encoder={"name": "mean", "width": 8},
        training={"epochs": 8},
        data={"ratios": [0.5, 0.25, 0.25]},
        dropout="uniform",
    )
    start(recipe, write_data(folder / "data"), folder / "run")
    return ew.open_run(folder / "run", device=CPU)


def test_strangers_are_told_before_their_scores_are_believed(
    run: ew.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of faces of other videos predict warns, evaluate notes, in words and numbers; of the run's own data neither."""
    assert set(read_model_file(run.folder).agreement or {}) == {"audio+visual"}  # text says nothing
    cli = typed_commands(capfd)
    strange = write_data(tmp_path / "strange", moved=1.0)
    said = "audio and visual of these 240 samples fit each other"
    assert f"Warning: {said}" in cli("predict", run.folder, strange, "--out", tmp_path / "a.csv").err
    assert said in cli("evaluate", run.folder, "--data", strange, "--fold", "all").out
    own = run.folder.parent / "data"
    told = cli("predict", run.folder, own, "--out", tmp_path / "b.csv")
    assert "fit each other" not in told.err
    assert "fit each other as" not in cli("evaluate", run.folder, "--data", own, "--fold", "all").out
    fits = {}
    for moved in (0.0, 0.5, 1.0):
        data = write_data(tmp_path / f"moved{moved}", moved=moved)
        alarms = run.evaluate(data, fold="all").alarms
        assert alarms is not None
        fits[moved] = alarms.pairs["audio+visual"].fit
    assert fits[0.0] == pytest.approx(1.0, abs=0.2)
    assert fits[0.5] == pytest.approx(0.5, abs=0.25)
    assert fits[1.0] == pytest.approx(0.0, abs=0.2)


def test_every_verb_tells_the_same_alarm(run: ew.Run, tmp_path: Path) -> None:
    """predictions.csv, predict, explain, scores.json and the page agree; where one of two is absent there is none."""
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    model = json.loads((folder / "model.json").read_text())
    model["agreement"]["audio+visual"]["least"] = model["agreement"]["audio+visual"]["usual"]  # half ring
    (folder / "model.json").write_text(json.dumps(model))
    opened = ew.open_run(folder)
    scores = opened.evaluate()
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = {one.id: one.alarms.get("audio+visual") for one in opened.predict(str(run.folder.parent / "data"))}
    whole = {row["id"]: float(row["alarm(audio+visual)"]) for row in rows if row["configuration"] == "audio+visual"}
    assert {name for name, share in whole.items() if share > 1} == {name for name in whole if told[name]}
    assert all(told[name] == pytest.approx(share, rel=1e-3) for name, share in whole.items() if share > 1)
    assert {row["configuration"] for row in rows if row["alarm(audio+visual)"]} == {"audio+visual", "text+audio+visual"}
    assert scores.alarms is not None
    pair = scores.alarms.pairs["audio+visual"]
    assert 0 < pair.raised == sum(share > 1 for share in whole.values()) < pair.samples == len(whole)
    assert scores.alarms.modalities.keys() == {"text", "audio", "visual"}
    highest = next(iter(pair.highest))
    assert opened.explain(sample=highest).sample.alarms["audio+visual"] == pytest.approx(
        pair.highest[highest], rel=1e-3
    )
    section = (folder / "report.html").read_text().partition("Signals that lie</h2>")[2].partition("</section>")[0]
    assert "audio+visual" in section
    assert all(sample in section for sample in pair.highest)
    ignored = ew.open_run(folder, on_alarm="ignore")
    assert not any(one.alarms for one in ignored.predict(str(run.folder.parent / "data")))
    assert ignored.evaluate().alarms is None


def test_a_pair_is_told_and_never_dropped(run: ew.Run, tmp_path: Path) -> None:
    """With on_alarm = "drop" two that do not fit are both read: which of them lies is not known."""
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    model = json.loads((folder / "model.json").read_text())
    model["agreement"]["audio+visual"]["least"] = 20.0  # all ring
    (folder / "model.json").write_text(json.dumps(model))
    random = np.random.default_rng(5)
    given = {m: random.normal(size=(4, 6)).astype(np.float32) for m in ("text", "audio", "visual")}
    (dropping, plain) = (ew.open_run(folder, on_alarm=kind).predict(**given) for kind in ("drop", "ignore"))
    assert dropping.probabilities == plain.probabilities
    assert dropping.present == ("text", "audio", "visual")
    assert set(dropping.alarms) == {"audio+visual"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"expected": [0.5, 0.5]},
        {"expected": [0.0, 0.5, 0.5]},
        {"least": 1e308},
        {"usual": -5.0},
    ],
)
def test_a_damaged_agreement_is_refused_by_name(run: ew.Run, tmp_path: Path, wrong: dict[str, object]) -> None:
    """Of other classes, a class never expected, no finite number, or below chance: the file is said to be damaged."""
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    model = json.loads((folder / "model.json").read_text())
    model["agreement"]["audio+visual"] |= wrong
    (folder / "model.json").write_text(json.dumps(model))
    with pytest.raises(DataError, match=r"model\.json is damaged"):
        ew.open_run(folder).predict(audio=np.ones((2, 6), dtype=np.float32))


def test_a_run_of_an_earlier_version_has_none(run: ew.Run, tmp_path: Path) -> None:
    """Without agreements in its model.json a run answers the same, and tells nothing of pairs."""
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    model = json.loads((folder / "model.json").read_text())
    del model["agreement"]
    (folder / "model.json").write_text(json.dumps(model))
    old, data = ew.open_run(folder), str(run.folder.parent / "data")
    assert [one.probabilities for one in old.predict(data)] == [one.probabilities for one in run.predict(data)]
    alarms = old.evaluate().alarms
    assert alarms is not None
    assert alarms.pairs == {}
