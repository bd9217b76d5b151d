"""Corruptions as they are drawn and applied, held against their definitions."""

import subprocess
import sys
from collections import Counter
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chisquare, hypergeom, kstest

from emotiwave_core.errors import SettingsError
from emotiwave_core.evaluate.corruption import Manifest, Sequences
from emotiwave_core.evaluate.corruptions import corruption_names, find_corruption
from emotiwave_core.evaluate.corruptions.noise import normals
from emotiwave_core.evaluate.corruptions.swap import partners_of
from emotiwave_core.evaluate.drawing import DIGITS, NEVER, SampleFacts, philox
from emotiwave_core.evaluate.manifest import draw_manifest, parse_manifest
from emotiwave_core.evaluate.robustness import auilc, effective_robustness, relative_robustness

THREE = ("text", "audio", "visual")


def samples(steps: dict[str, list[int]], *, per_video: int = 2, rate: float = 10.0) -> SampleFacts:
    """N samples of these steps in each modality, `per_video` of them in a video, at `rate` steps a second."""
    count = len(next(iter(steps.values())))

    def times(modality: str, place: int) -> Any:
        start = 100.0 * place + np.arange(steps[modality][place]) / rate
        return np.stack([start, start + 1 / rate], axis=1).astype(np.float32)

    return SampleFacts(
        dataset="Tiny",
        fold="test",
        ids=[f"v{place // per_video}[{place % per_video}]" for place in range(count)],
        videos=[f"v{place // per_video}" for place in range(count)],
        steps=steps,
        times=times,
        deviation=lambda modality: [0.5, 0.0],
    )


def uneven(count: int = 40, seed: int = 0, modalities: tuple[str, ...] = THREE) -> SampleFacts:
    """Samples of 0 to 12 steps, each with at least one modality."""
    steps = np.random.default_rng(seed).integers(0, 13, (count, len(modalities)))
    steps[:, 0] = np.where(steps.any(axis=1), steps[:, 0], 3)
    return samples({m: column.tolist() for m, column in zip(modalities, steps.T, strict=True)})


def draw(protocol: str, drawn_for: SampleFacts, seed: int) -> Manifest:
    """The manifest of a protocol."""
    return draw_manifest(find_corruption(protocol), drawn_for, seed)


def lost(manifest: Manifest, modality: str, level: int) -> list[list[bool]]:
    """True for each character that says "corrupted" at a level, sample by sample."""
    return [[c != NEVER and DIGITS.index(c) <= level for c in text] for text in manifest.since[modality]]


@pytest.mark.parametrize("protocol", corruption_names())
def test_a_manifest_is_read_as_it_was_drawn(protocol: str) -> None:
    """What is drawn is a valid manifest; the same seed gives the same bytes, and another seed other ones."""
    drawn = draw(protocol, uneven(), 3)
    assert parse_manifest(drawn.to_bytes(), find_corruption(protocol), "x") == drawn
    assert draw(protocol, uneven(), 3).to_bytes() == drawn.to_bytes()
    again = draw(protocol, uneven(), 4)
    drawn_anything = (again.since, again.partners) != (drawn.since, drawn.partners)
    assert drawn_anything == (protocol in ("random", "frames", "blocks", "swap"))


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_random_loses_exactly_the_missing_rate(count: int, modalities: int, seed: int) -> None:
    """MR = 1 - Σ|u_i| / (N·M) is the level to the nearest whole number, as far as each sample can keep one."""
    some = uneven(count, seed, (*THREE, "gaze")[:modalities])
    manifest = draw("random", some, seed)
    has = np.array([[steps > 0 for steps in row] for row in zip(*some.steps.values(), strict=True)])
    for level, rate in enumerate(manifest.levels):
        gone = np.array([lost(manifest, m, level) for m in manifest.modalities])[:, :, 0].T
        assert not (gone & ~has).any()
        left = (has & ~gone).sum(axis=1)
        assert (left >= 1).all()
        due = np.clip(round(rate * has.size), (~has).sum(), has.size - count)
        assert has.size - left.sum() == due


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_random_ends_where_no_more_can_go(count: int) -> None:
    """The first level that reaches (M - 1) / M is the last one, so no two points of a curve are the same."""
    modalities = ("text", "audio", "visual", "gaze", "pulse")[:count]
    manifest = draw("random", samples({m: [1] * 1000 for m in modalities}), 0)
    due = {2: 0.5, 3: 0.7, 4: 0.7, 5: 0.7}[count]
    assert manifest.levels == [number / 10 for number in range(round(10 * due) + 1)]
    gone = [np.mean([lost(manifest, m, level) for m in modalities]) for level in range(len(manifest.levels))]
    assert (np.diff(gone) > 0).all()
    assert find_corruption("frames").levels_for(modalities) == find_corruption("frames").levels


def test_random_is_nested_and_keeps_any_modality_alike() -> None:
    """The counts are those of a random order, and in the end each of those present is kept as often as the others."""
    count = 3000
    manifest = draw("random", samples(dict.fromkeys(THREE, [1] * count)), 0)
    assert manifest.levels == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    left = Counter(m for m in THREE for text in manifest.since[m] if text == NEVER)
    assert sum(left.values()) == count  # 0.7 is out of reach of three modalities: one is kept of each
    assert chisquare(list(left.values())).pvalue > 1e-3
    at_two = np.sum([lost(manifest, m, 2) for m in THREE], axis=(0, 2)).tolist()
    assert sum(at_two) == round(0.2 * count * 3)
    # Each of the 2·count that may go is gone with probability 0.3, without replacement.
    due = binom.pmf([0, 1, 2], 2, 0.3) * count
    assert chisquare([at_two.count(k) for k in range(3)], due).pvalue > 1e-3


def test_frames_lose_each_step_by_its_own_uniform_number() -> None:
    """The number of lost steps is binomial at each rate: nothing at 0, all at 1, independent between the modalities."""
    manifest = draw("frames", samples({"text": [20] * 400, "audio": [20] * 400}), 1)
    for level, rate in enumerate(manifest.levels):
        assert rate == pytest.approx(level / 10)
        gone = np.array([lost(manifest, m, level) for m in ("text", "audio")])  # [2, 400, 20]
        assert gone.sum() == pytest.approx(rate * gone.size, abs=4 * np.sqrt(gone.size * rate * (1 - rate)) + 1e-9)
        both = (gone[0] & gone[1]).mean()
        assert both == pytest.approx(rate**2, abs=0.02)
    half = np.array(lost(manifest, "text", 5)).sum(axis=1)
    counts = np.histogram(half, [0, 8, 9, 10, 11, 12, 13, 21])[0]
    due = np.diff(binom.cdf([-1, 7, 8, 9, 10, 11, 12, 20], 20, 0.5)) * 400
    assert chisquare(counts, due * counts.sum() / due.sum()).pvalue > 1e-3
    one = draw("frames", samples({"text": [20, 20], "audio": [20, 20]}), 1)
    assert one.since["audio"][1] == manifest.since["audio"][1]  # whatever other samples there are


def test_blocks_lose_one_run_with_a_uniform_start() -> None:
    """Exactly round(rate · T) steps in one piece, each start alike; a longer run holds the shorter ones."""
    manifest = draw("blocks", samples({"audio": [12] * 3000}), 2)
    for level, rate in enumerate(manifest.levels):
        gone = np.array(lost(manifest, "audio", level))
        length = round(rate * 12)
        assert (gone.sum(axis=1) == length).all()
        edges = np.diff(np.pad(gone, ((0, 0), (1, 1))).astype(int), axis=1)
        assert ((edges == 1).sum(axis=1) == (length > 0)).all()
        if 0 < length < 12:
            starts = np.bincount(gone.argmax(axis=1), minlength=13 - length)
            assert len(starts) == 13 - length
            assert chisquare(starts).pvalue > 1e-3
    short = draw("blocks", samples({"audio": list(range(8))}), 0).since["audio"]
    assert not any(NEVER in text for text in short)  # at rate 1 all is lost


def test_frozen_holds_the_last_steps() -> None:
    """The last round(rate · T) steps are frozen, at rate 1 all but the first; a single step is left alone."""
    manifest = draw("frozen", samples({"visual": [0, 1, 2, 8]}), 0)
    assert manifest.since["visual"] == ["", "-", "-2", "-4332211"]


@pytest.mark.parametrize(
    ("there", "since", "shown"),
    [
        ("FTT", "-11", "-bb"),  # none before it is there: the first that is
        ("TTF", "--1", "ab-"),  # nothing comes to life
        ("TFT", "-11", "a-a"),
        ("TFT", "--1", "a-a"),  # not the empty one before it
        ("TTTT", "-211", "abbb"),
        ("FTF", "-11", "-b-"),
        ("FFF", "-11", "---"),
    ],
)
def test_a_frozen_step_shows_the_last_that_is_there(there: str, since: str, shown: str) -> None:
    """At level 1 by hand, where steps are a, b, c, …; it counts as damaged only where it shows another step."""
    steps = len(there)
    manifest = attrs.evolve(
        draw("frozen", samples({"visual": [steps]}), 0), since={"visual": [since]}, levels=[0.0, 0.5, 1.0]
    )
    x, mask = torch.arange(float(steps))[None, :, None], torch.tensor([[c == "T" for c in there]])
    clean = Sequences(x, mask)
    corruption = find_corruption("frozen")(manifest, "visual", [0], clean, lambda _: clean)
    values, left = corruption.apply(1)
    letters = "".join("abcd"[int(v)] if m else "-" for v, m in zip(values[0, :, 0], left[0], strict=True))
    assert letters == shown
    moved = sum(c not in ("-", "abcd"[t]) for t, c in enumerate(shown))
    assert corruption.count(1) == (moved, there.count("T"))
    assert corruption.count(0) == (0, there.count("T"))


def test_shift_loses_what_passes_the_end() -> None:
    """At 10 steps a second s seconds lose the last 10·s steps; one step a sample has no time inside."""
    manifest = draw("shift", samples({"audio": [1, 3, 30], "visual": [0, 25, 2]}), 0)
    assert manifest.levels == [0.0, 0.25, 0.5, 1.0, 2.0]
    for level, seconds in enumerate(manifest.levels):
        for text, steps in zip(manifest.since["audio"][1:], (3, 30), strict=True):
            gone = [c != NEVER and DIGITS.index(c) <= level for c in text]
            due = min(int(10 * seconds + 0.5), steps)  # halves are lost
            assert gone == [False] * (steps - due) + [True] * due
    assert (manifest.since["audio"][0], manifest.since["visual"][0]) == (NEVER, "")


@pytest.mark.parametrize("rate", [20.0, 30.0, 100.0])
def test_shift_counts_steps_far_into_a_video(rate: float) -> None:
    """The times of a store are float32: an hour into a video, a second is as many steps as at its start."""
    far = samples({"audio": [50] * 37}, rate=rate)  # the last starts at 3600 s
    texts = draw("shift", far, 0).since["audio"]
    assert {sum(c in "123" for c in text) for text in texts} == {min(int(rate), 50)}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 999))
@settings(max_examples=100, deadline=None)
def test_swap_partners_are_of_another_video_where_possible(sizes: list[int], seed: int) -> None:
    """A permutation without a fixed point; partners of one video only as far as one video is more than half of all."""
    videos = [f"v{number}" for number, size in enumerate(sizes) for _ in range(size)]
    if len(videos) < 2:
        return
    partners = partners_of(videos, np.random.default_rng(seed))
    assert sorted(partners) == sorted(partners.values()) == list(range(len(videos)))
    assert all(place != partner for place, partner in partners.items())
    same = sum(videos[place] == videos[partner] for place, partner in partners.items())
    assert same == max(2 * max(sizes) - len(videos), 0)


def test_swap_takes_a_share_of_those_who_have_it() -> None:
    """Exactly round(share · n) of the n that have the modality get it from another that has it."""
    some = uneven(41)
    manifest = draw("swap", some, 5)
    for m in THREE:
        has = np.array(some.steps[m]) > 0
        for level, share in enumerate(manifest.levels):
            gone = np.array(lost(manifest, m, level))[:, 0]
            assert not (gone & ~has).any()
            assert gone.sum() == round(share * has.sum())
        lenders = [partner for partner in manifest.partners[m] if partner is not None]
        assert sorted(lenders) == sorted(np.array(some.ids)[has])
    many = draw("swap", samples({"text": [1] * 1000}), 0)
    first = np.array(lost(many, "text", 2))[:500, 0].sum()  # of 500 swapped ones
    assert 0.01 < hypergeom.cdf(first, 1000, 500, 500) < 0.99
    alone = draw("swap", samples({"text": [3, 0], "audio": [1, 1]}), 0)
    assert (alone.since["text"], alone.partners["text"]) == ([NEVER, NEVER], [None, None])


def test_noise_is_standard_normal_and_can_be_drawn_again() -> None:
    """The numbers of a sample are Gaussian, its own, and those of a plain Box and Muller on its raw stream."""
    drawn = normals(0, "audio", "v1[0]", 100, 40)
    assert drawn.shape == (100, 40)
    assert kstest(drawn.ravel(), "norm").pvalue > 1e-3
    assert np.array_equal(drawn, normals(0, "audio", "v1[0]", 100, 40))
    for other in ((1, "audio", "v1[0]"), (0, "text", "v1[0]"), (0, "audio", "v1[1]")):
        assert abs(np.corrcoef(drawn.ravel(), normals(*other, 100, 40).ravel())[0, 1]) < 0.06
    raw = philox("noise", 0, "audio", "v1[0]").random_raw(8000).tolist()
    for place in (0, 17, 3999):
        u, v = ((raw[place + half] // 2**11) / 2**53 for half in (0, 4000))
        due = np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2 * np.pi * v)
        assert drawn.ravel()[place] == pytest.approx(due, rel=1e-12)


@pytest.mark.parametrize("protocol", ["frozen", "shift"])
def test_steps_that_hold_nothing_go_where_the_others_go(protocol: str) -> None:
    """In an aligned store a step may be empty: frozen, it stays so and is not repeated; delayed, it moves along."""
    torch.manual_seed(0)
    steps = [8, 5, 8]
    manifest = draw(protocol, samples({"audio": steps}), 0)
    x, mask = torch.rand(3, 9, 2), torch.rand(3, 9) < 0.6
    mask &= torch.arange(9) < torch.tensor(steps)[:, None]
    clean = Sequences(x, mask)
    corruption = find_corruption(protocol)(manifest, "audio", [0, 1, 2], clean, lambda _: clean)
    for level in range(1, 5):
        shown_at_level, left = corruption.apply(level)
        for row, count in enumerate(steps):
            hit = lost(manifest, "audio", level)[row]
            values, there = x[row, :count].tolist(), mask[row, :count].tolist()
            if protocol == "frozen":
                shown = [t for t in range(count) if there[t]][:1]
                for t in range(count):
                    shown = [t] if there[t] and not hit[t] else shown
                    values[t] = x[row, shown[0]].tolist() if shown else values[t]
            else:
                late = sum(hit)
                values = [[0.0, 0.0]] * late + values[: count - late]
                there = [False] * late + there[: count - late]
            assert left[row].tolist() == there + [False] * (9 - count)
            for t in range(count):
                assert not there[t] or shown_at_level[row, t].tolist() == pytest.approx(values[t])


def test_the_curves_of_each_protocol() -> None:
    """Each modality alone; for lost steps and noise also all together; for random any."""
    alone = {m: (m,) for m in THREE}
    together = {**alone, "text+audio+visual": THREE}
    due = {"shift": alone, "swap": alone, "frozen": alone, "frames": together, "blocks": together, "noise": together}
    assert {name: find_corruption(name).curves_for(THREE) for name in corruption_names()} == due | {
        "random": {"any": THREE}
    }
    assert find_corruption("noise").curves_for(("audio",)) == {"audio": ("audio",)}


def test_an_unknown_protocol_is_one_sentence() -> None:
    """The nearest name is proposed, and all are listed."""
    with pytest.raises(
        SettingsError, match=r"no protocol 'noize'. Did you mean 'noise'\? Choose from: blocks, .*swap\."
    ):
        find_corruption("noize")


def test_listing_the_names_imports_no_corruption() -> None:
    """The command line lists the protocols without NumPy and torch."""
    code = (
        "import sys; import emotiwave_core.cli.evaluate;"
        "from emotiwave_core.evaluate.corruptions import corruption_names;"
        "print(corruption_names(), {'numpy', 'torch'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == f"{corruption_names()} set()"


levels_and_scores = st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=2, max_size=11)


@given(levels_and_scores)
def test_areas_are_those_of_numpy(points: list[tuple[float, float]]) -> None:
    """Relative robustness is the area by trapezoids, and AUILC that area over the range: the mean height."""
    levels = np.cumsum([width for width, _ in points]).tolist()
    scores = [score for _, score in points]
    area = np.trapezoid(scores, levels)
    assert relative_robustness(levels, scores) == pytest.approx(area, abs=1e-12)
    assert auilc(levels, scores) == pytest.approx(area / (levels[-1] - levels[0]), abs=1e-12)
    assert min(scores) - 1e-12 <= auilc(levels, scores) <= max(scores) + 1e-12
    assert auilc(levels, [0.4] * len(levels)) == pytest.approx(0.4)


def test_an_area_without_a_width() -> None:
    """Where no level could be reached, AUILC is the score and the area nothing."""
    assert auilc([0.2, 0.2], [0.5, 0.5]) == 0.5
    assert relative_robustness([0.2, 0.2], [0.5, 0.5]) == 0.0


def test_effective_robustness_is_what_is_not_lost() -> None:
    """Σ [f_i - (b_i + f_0 - b_0)], by hand: a better start alone is worth nothing."""
    assert effective_robustness([0.8, 0.7, 0.5], [0.6, 0.4, 0.1]) == pytest.approx((0.7 - 0.6) + (0.5 - 0.3))
    assert effective_robustness([0.9, 0.8, 0.7], [0.6, 0.5, 0.4]) == pytest.approx(0.0)
    assert effective_robustness([0.6, 0.4], [0.8, 0.7]) == pytest.approx(-0.1)
