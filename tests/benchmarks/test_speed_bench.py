"""`make bench`: the baselines do what they are named for, and no figure is lost or miscalculated."""

import itertools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from documents import ROOT
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(ROOT / "benchmarks"))

from speed import __main__ as bench
from speed import corpus, epoch, exported, growth, latency, plain, recurrence, scoring, table
from speed.opened import untrained
from speed.table import Row

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of a few seconds, some of more than 300 steps: four to train on, one to validate, one to test."""
    return corpus.write_corpus(tmp_path_factory.mktemp("bench") / "few", 6, seconds=3.5)


def test_the_data_have_the_widths_rates_and_lengths_that_they_are_said_to_have(tmp_path: Path) -> None:
    """Every video has float32 features of CMU-MOSEI's widths at its rates, and all files cover the same time."""
    folder = corpus.write_corpus(tmp_path / "some", 40, seconds=2.0)
    ends: dict[str, dict[str, float]] = {}
    for modality, name in [*corpus.FILES.items(), ("labels", corpus.LABELS)]:
        with h5py.File(folder / name) as file:
            data = file[name]["data"]
            for video, group in data.items():
                features, intervals = group["features"], group["intervals"][()]
                assert features.shape == (len(intervals), {**corpus.WIDTHS, "labels": 7}[modality])
                assert (features.dtype, intervals.dtype) == (np.float32, np.float64)
                assert (intervals[1:, 0] == intervals[:-1, 1]).all()
                assert (intervals[:, 1] > intervals[:, 0]).all()
                if modality != "labels":
                    rate = len(intervals) / (intervals[-1, 1] - intervals[0, 0])
                    assert rate == pytest.approx(corpus.RATES[modality])
                ends.setdefault(video, {})[modality] = intervals[-1, 1]
    lengths = np.array([end["labels"] for end in ends.values()])
    assert corpus.WIDTHS == {"text": 300, "audio": 74, "visual": 713}
    assert corpus.RATES == {"text": 2.2, "audio": 100.0, "visual": 30.0}
    assert len(ends) == 40
    assert lengths.mean() == pytest.approx(2.0, rel=0.25)
    assert all(0 <= end["labels"] - end["audio"] <= 0.01 + 1e-9 for end in ends.values())
    folds = json.loads((folder / "folds.json").read_text())
    assert sorted(itertools.chain(*folds.values())) == sorted(ends)
    assert [len(folds[name]) for name in ("train", "valid", "test")] == [32, 4, 4]
    assert sum(path.stat().st_size for path in folder.iterdir()) == pytest.approx(corpus.bytes_of(40, 2.0), rel=0.25)


def test_data_are_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing that is stopped leaves no folder to be taken for data; a whole one is not written again."""
    written, entry = [], corpus._entry

    def stopping(data: h5py.Group, video: str, *rest: Any) -> None:
        written.append(video)
        if len(written) == 5:
            raise KeyboardInterrupt
        entry(data, video, *rest)

    monkeypatch.setattr(corpus, "_entry", stopping)
    with pytest.raises(KeyboardInterrupt):
        corpus.write_corpus(tmp_path / "some", 3, seconds=0.5)
    assert not (tmp_path / "some").exists()
    for _ in range(2):
        corpus.write_corpus(tmp_path / "some", 3, seconds=0.5)
        assert len(written) == 5 + 4 * 3
    assert [path.name for path in tmp_path.iterdir()] == ["some"]


@pytest.mark.full
def test_the_plain_loop_and_ours_learn_the_same(few: Path) -> None:
    """From the same weights, seeds and order both have the same loss in every step: the baseline is the same work."""
    found = epoch.against_plain(few, CPU, {}, epochs=1)
    assert found.compared == 2
    assert found.apart < 1e-5
    assert min(found.ours, found.theirs, found.preparation) > 0
    assert 0 < found.their_data < found.theirs


@pytest.mark.full
def test_another_loss_is_seen(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the plain loop does something else, the losses are apart by more than the goal."""
    monkeypatch.setattr(plain, "P", 1.0)
    assert epoch.against_plain(few, CPU, {}, epochs=1).apart > 1e-4


def test_no_encoder_runs_for_an_explanation(few: Path) -> None:
    """The count of further passes is 0, of hooks that did count those of scoring."""
    further, seconds = scoring.measure_explaining(few, CPU)
    assert further.value == 0
    assert further.met
    assert int(further.note.rpartition(" ")[2]) > 0
    assert seconds.value is not None
    assert seconds.value > 0


@pytest.mark.full
def test_the_stages_of_a_prediction_are_all_of_it(few: Path) -> None:
    """Half of the predictions take no longer than p50, nearly all no longer than p99, and the shares sum to 1."""
    rows = {row.what: row for row in latency.measure(few, CPU, clips=5)}
    for name in ("default", "notebook"):
        p50, p99 = (rows[f"one clip, {name}, {which}"] for which in ("p50", "p99"))
        assert p50.value is not None
        assert p99.value is not None
        assert 0 < p50.value <= p99.value
        shares = [int(text.rpartition(" ")[2].rstrip("%")) for text in p50.note.split(", ")]
        assert sum(shares) == pytest.approx(100, abs=2)


@pytest.mark.slow
def test_every_form_of_export_is_measured(few: Path) -> None:
    """Size and latency of each, beside the weights and eager torch of the same run; int8 is the smallest."""
    rows = {row.what: row for row in exported.measure(few, clips=2)}
    assert list(rows) == [
        f"{what}, {name}" for what in ("size", "one clip") for name in ("torch-export", "ONNX", "ONNX int8")
    ]
    assert all(row.value and row.baseline_value for row in rows.values())
    assert (rows["size, ONNX int8"].ratio or 1) < 0.5


def test_the_operations_of_the_recurrence_are_counted_right() -> None:
    """They are those that torch counts in an LSTM written as products, forward and backward."""
    batch, steps, H = 2, 3, recurrence.HIDDEN
    total = 0
    for F in corpus.WIDTHS.values():
        wide, deep = torch.randn(4 * H, F, requires_grad=True), torch.randn(4 * H, H, requires_grad=True)
        h = torch.zeros(batch, H, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            for x in torch.randn(steps, batch, F):
                i, f, g, o = (x @ wide.T + h @ deep.T).chunk(4, dim=1)
                h = torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f))
            h.sum().backward()
        total += 2 * counter.get_total_flops()
    assert recurrence.gigaflops(batch, steps) == pytest.approx(total / 1e9)


def test_a_slope_is_the_power_of_growth() -> None:
    """What grows as 3 n^p has the slope p."""
    for power in (0.0, 0.5, 1.0, 2.0):
        assert growth.slope([10, 20, 40, 80], [3.0 * n**power for n in (10, 20, 40, 80)]) == pytest.approx(power)
    assert growth.sizes(3292) == [411, 823, 1646, 3292]
    assert growth.sizes(30) == [24, 48, 96, 192]


@pytest.mark.parametrize(
    ("value", "baseline", "goal", "ratio", "met"),
    [
        (6.0, 3.0, ">= 2", 2.0, True),
        (5.9, 3.0, ">= 2", 5.9 / 3, False),
        (3.9, 3.0, "<= 1.3", 1.3, True),
        (4.0, 3.0, "<= 1.3", 4 / 3, False),
        (0.5, None, "<= 1", None, True),
        (1.0, None, "= 0", None, False),
        (0.0, None, "= 0", None, True),
        (6.0, 3.0, "", 2.0, None),
        (None, None, ">= 2", None, None),
        (6.0, 0.0, ">= 2", None, None),
    ],
)
def test_a_ratio_is_value_by_baseline_and_is_held_to_the_goal(
    value: float | None, baseline: float | None, goal: str, ratio: float | None, met: bool | None
) -> None:
    """`ratio` = value / baseline, and `met` judges it, or the value where nothing stands beside it."""
    row = Row("group", "what", value, "s", "" if baseline is None else "other", baseline, goal)
    assert row.ratio == (None if ratio is None else pytest.approx(ratio))
    assert row.met is met
    assert json.loads(json.dumps(row.table())) == {**row._asdict(), "ratio": row.ratio, "met": met}


def test_medians_are_of_turns_without_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A B A B …, the device waited for at both ends of each, the first of each not counted."""
    clock, log = [0.0], []
    times = {"a": iter([100.0, 3.0, 1.0, 2.0]), "b": iter([50.0, 5.0, 7.0, 70.0])}

    def work(name: str) -> Callable[[], None]:
        def go() -> None:
            log.append(name)
            clock[0] += next(times[name])

        return go

    monkeypatch.setattr(table, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    settle = lambda: log.append("|")  # noqa: E731
    assert table.medians({name: work(name) for name in times}, 3, settle) == {"a": 2.0, "b": 7.0}
    assert "".join(log) == "|a||b|" * 4


def test_every_second_of_a_prediction_is_of_one_stage(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that goes on by one at each look, each stage has taken one."""
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    assert (latency.one_by_one(untrained({}, few, tmp_path, CPU, "all"), CPU, 3) == np.ones((3, 3))).all()


class Shown(NamedTuple):
    """What the program left."""

    code: int
    out: str
    json: dict[str, Any]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shown]:
    """Run the program on a few short videos, with other groups."""
    monkeypatch.setattr(bench, "write_corpus", lambda folder, videos: corpus.write_corpus(folder, videos, seconds=0.2))

    def call(*arguments: str, **groups: Callable[[Any], list[Row]]) -> Shown:
        monkeypatch.setattr(bench, "GROUPS", {name: [work] for name, work in groups.items()})
        file = tmp_path / "found.json"
        given = ["--data", str(tmp_path), "--json", str(file), "--videos", "30", "--device", "cpu", *arguments]
        done = CliRunner().invoke(bench.main, given)
        return Shown(done.exit_code, done.output, json.loads(file.read_text()) if file.exists() else {})

    return call


def test_a_group_that_fails_says_so_and_the_others_have_their_rows(program: Callable[..., Shown]) -> None:
    """The table and the JSON hold every row with its ratio, what failed with its reason, and on what machine."""
    fine = Row("fine", "work", 6.0, "s", "other", 4.0, "<= 1")

    def broken(_: Any) -> list[Row]:
        raise RuntimeError("no such\nthing")

    done = program(first=lambda _: [fine], broken=broken, last=lambda _: [fine, fine])
    assert done.code == 1
    assert [row["group"] for row in done.json["rows"]] == ["fine", "broken", "fine", "fine"]
    assert [row["ratio"] for row in done.json["rows"]] == [1.5, None, 1.5, 1.5]
    assert done.json["rows"][1]["note"] == "RuntimeError: no such thing"
    assert done.out.count("| fine: work | 6 s | other: 4 s | 1.5 | <= 1 | no |") == 3
    assert "| broken: not measured | failed |" in done.out
    known = {"cpu", "cores", "threads", "torch", "gpu", "date", "command", "videos", "bytes"}
    assert known <= set(done.json)
    assert (done.json["videos"], done.json["gpu"]) == (30, None)
    assert done.json["bytes"] > 1e5


def test_what_is_not_installed_is_no_failure(program: Callable[..., Shown]) -> None:
    """A figure that needs a package which is not here says so, and the command ends well."""
    done = program(
        first=lambda _: [Row("a", "b", 1.0, "s"), Row("c", "d", None, "", note="pip install x", installed=False)]
    )
    assert done.code == 0
    assert "| c: d | not installed |" in done.out
    assert done.json["rows"][1]["note"] == "pip install x"


def test_nothing_but_the_table_is_on_stdout_and_success_is_0(program: Callable[..., Shown]) -> None:
    """In a pipe the program prints its table alone."""
    done = program(only=lambda _: [Row("a", "b", 1.0, "s")])
    assert (done.code, len(done.out.strip().splitlines())) == (0, 3)


def test_a_disk_without_room_is_named_before_anything_is_written(
    program: Callable[..., Shown], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence says how much is needed, how much there is and what to do; no data are written."""
    monkeypatch.setattr(bench.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    done = program("--only", "epoch", epoch=lambda _: [])
    assert done.code == 5
    assert f"need {(1 + bench.STORES['epoch']) * corpus.bytes_of(30) / 1e9:.1f} GB" in done.out
    assert "has 0.0 GB free: take fewer --videos" in done.out
    assert list(tmp_path.iterdir()) == []
    assert math.isclose(corpus.bytes_of(corpus.FULL) / 1e9, 26, rel_tol=0.1)


def test_what_needs_no_data_makes_none(program: Callable[..., Shown], tmp_path: Path) -> None:
    """For groups that read no videos none are written; a JSON that cannot be written is refused before the work."""
    done = program("--only", "startup", startup=lambda _: [Row("a", "b", 1.0, "s")])
    assert (done.code, [path.name for path in tmp_path.iterdir()]) == (0, ["found.json"])
    refused = program("--only", "startup", "--json", str(tmp_path / "nowhere" / "x.json"), startup=lambda _: [])
    assert (refused.code, "choose another --json" in refused.out) == (5, True)
