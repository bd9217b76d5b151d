"""Answers about arrays: those of `Run.predict`, and one clear sentence for what cannot be used."""

import asyncio
import json
import threading
import time
from itertools import combinations
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from served import WIDTHS, client_of, sample

import emotiwave as ew
from emotiwave_core.serve.arrays import Sample
from emotiwave_core.serve.batching import Batcher
from emotiwave_core.serve.limits import Limits, Refusal
from emotiwave_core.serve.metrics import Metrics

JSON = {"content-type": "application/json"}
SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(WIDTHS, size)]


@pytest.mark.parametrize("only", SUBSETS)
def test_one_sample_is_answered_as_the_run_answers(client: Any, run: ew.Run, only: tuple[str, ...]) -> None:
    """A request that comes alone has the numbers of `run.predict`, to the last digit, in every configuration."""
    asked = sample(only=only)
    expected = run.predict(**asked).to_dict()
    del expected["id"], expected["interval"]
    answer = client.post("/predict", json=asked)
    assert (answer.status_code, answer.json()) == (200, json.loads(json.dumps(expected)))


def test_null_is_a_number_that_is_not_known(client: Any, run: ew.Run) -> None:
    """null among the numbers is NaN, and in the place of an array the modality is absent."""
    asked = sample(only=("text", "audio"))
    asked["text"][1][2] = None
    nan = {**asked, "text": np.array(asked["text"], dtype=float)}
    answer = client.post("/predict", json={**asked, "visual": None})
    assert answer.json()["probabilities"] == run.predict(**nan).probabilities


def test_a_batch_is_its_samples(client: Any) -> None:
    """The answers of a batch are those of its samples, up to rounding; one that is wrong has its sentence."""
    asked = [sample(steps=2 + seed, seed=seed) for seed in range(6)]
    answer = client.post("/predict/batch", json={"samples": [*asked, {"text": [[1.0]]}]}).json()
    assert answer["failed"] == 1
    assert answer["answers"][-1] == {"error": "'text' of sample 6 is [1, 1], and this run reads [steps, 5]."}
    for one, told in zip(asked, answer["answers"], strict=False):
        alone = client.post("/predict", json=one).json()
        assert told["decided"] == alone["decided"]
        assert told["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)


WRONG = {
    b"": "it is not JSON",
    b"[]": "no table of arrays",
    b"{}": "nothing in any modality",
    b'{"text": [[0, 0, 0, 0, 0]]}': "The sample has zeros or no number alone in every modality",
    b'{"text": NaN}': "write null for a number that is not known",
    b'{"text": 1}': "'text' of the sample is no array of numbers",
    b'{"text": [["1"]]}': "'text' of the sample is no array of numbers",
    b'{"text": [[1, 2], [1]]}': "'text' of the sample is no array of numbers",
    b'{"text": [[[1, 2, 3, 4, 5]]]}': "is [1, 1, 5], and this run reads [steps, 5]",
    b'{"text": [[1, 2, 3]]}': "is [1, 3], and this run reads [steps, 5]",
    b'{"texts": [[1]]}': "This run reads no 'texts', which the sample has. Did you mean 'text'?",
    b'{"text": [[1, 2, 3, 4, 5]], "text": null}': "the key 'text' twice",
    b'{"text": [[1, 2, 3, 4, 5]], "times": {"text": [[0, 1], [1, 2]]}}': "'times' of 'text' of the sample is [2, 2]",
    b'{"text": [[1, 2, 3, 4, 5]], "times": {"text": [[0, 1e300]]}}': "further than 86400 s from 0",
    b'{"text": [[1, 2, 3, 4, 5]], "times": {"audio": [[0, 1]]}}': "times of 'audio', and no features of it",
    b'{"text": [[1, 2, 3, 4, 5]], "interval": [2, 1]}': "'interval' of the sample is to be [start, end]",
    b'{"text": [[1, 2, 3, 4, 5]], "words": [[1]]}': "'words' of the sample is [1, 1], not [rows, 2] seconds",
    b'{"text": [[1e39, 1e39, 1e39, 1e39, 1e39]], "audio": 1e400}': "no array of numbers",
    b"[" * 10_000: "nested too deeply",
    b"\xff": "not UTF-8",
}


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_used_has_one_sentence(client: Any, run: ew.Run, body: bytes) -> None:
    """A wrong body is 422 with a sentence that says what is wrong, and names nothing of the server."""
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 422
    sentence = answer.json()["error"]
    assert WRONG[body] in sentence
    assert "\n" not in sentence
    assert "secret-folder" not in answer.text
    assert "Traceback" not in answer.text


def test_limits(run: ew.Run) -> None:
    """Bytes are counted as they come, whatever the header says; so are steps and samples."""
    with client_of(run, json_bytes=2000, steps=5, samples=2) as client:

        def chunks() -> Any:
            yield b'{"text": ['
            yield from [b"[1,2,3,4,5]," for _ in range(1000)]

        assert client.post("/predict", content=chunks(), headers=JSON).status_code == 413
        many = client.post("/predict", json={"text": [[1.0] * 5] * 6})
        assert (many.status_code, many.json()["error"]) == (422, "'text' of the sample has 6 steps, more than 5.")
        three = client.post("/predict/batch", json={"samples": [{}] * 3})
        assert (three.status_code, three.json()["error"]) == (422, "A batch has 1 to 2 samples, and this has 3.")
        assert client.traffic.held == 0  # type: ignore[attr-defined]


def test_bodies_that_are_held_have_a_bound(run: ew.Run) -> None:
    """Beyond the bytes that may be held for all requests together, one more is told to come again."""
    with client_of(run, held_bytes=100) as client:
        answer = client.post("/predict", json=sample(steps=20))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert client.post("/predict", json={"text": [[1, 2, 3, 4, 5]]}).status_code == 200


class Slow:
    """A model that waits until it may answer, and knows what it was asked."""

    def __init__(self) -> None:
        self.may, self.asked = threading.Event(), []  # type: ignore[var-annotated]

    def __call__(self, samples: list[dict[str, Any]]) -> list[Any]:
        """The samples themselves; ValueError for one that is bad."""
        self.asked.append(len(samples))
        self.may.wait(60)
        if any(one.get("bad") for one in samples):
            raise ValueError("it is bad")
        return samples


def test_what_comes_together_is_computed_together() -> None:
    """Samples that wait are one batch, whose bound holds; one that is bad costs itself alone."""

    async def ask() -> list[Any]:
        first = batcher.submit([Sample({"n": 0}, 1)])
        while not slow.asked:
            await asyncio.sleep(0.001)
        rest = [batcher.submit([Sample({"n": n, "bad": n == 3}, 1)])[0] for n in range(1, 7)]
        slow.may.set()
        return await asyncio.gather(*first, *rest, return_exceptions=True)

    slow = Slow()
    batcher = Batcher(slow, Limits(batch=4), Metrics())
    answers = asyncio.run(ask())
    batcher.close()
    assert slow.asked == [1, 4, 1, 1, 1, 1, 2]  # a batch of four, each of them alone, and the rest
    assert [one if isinstance(one, Exception) else one["n"] for one in answers[:3]] == [0, 1, 2]
    assert isinstance(answers[3], ValueError)
    assert [one["n"] for one in answers[4:]] == [4, 5, 6]


def test_a_long_sample_is_not_padded_onto_all() -> None:
    """A batch holds no more numbers, padding included, than its bound."""

    async def ask() -> None:
        first = batcher.submit([Sample({}, 1)])
        while not slow.asked:
            await asyncio.sleep(0.001)
        rest = batcher.submit([Sample({}, size) for size in (10, 10, 10, 50, 10)])
        slow.may.set()
        await asyncio.gather(*first, *rest)

    slow = Slow()
    batcher = Batcher(slow, Limits(floats=100), Metrics())
    asyncio.run(ask())
    batcher.close()
    assert slow.asked == [1, 3, 2]


def test_the_queue_has_a_bound() -> None:
    """What would wait beyond the bound is refused, and what has left is not computed."""

    async def ask() -> None:
        first = batcher.submit([Sample({}, 1)])
        while not slow.asked:
            await asyncio.sleep(0.001)
        waiting = batcher.submit([Sample({}, 1)] * 3)
        with pytest.raises(Refusal) as refused:
            batcher.submit([Sample({}, 1)])
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
        waiting[0].cancel()
        await asyncio.sleep(0)
        slow.may.set()
        await asyncio.gather(*first, *waiting[1:])

    slow = Slow()
    batcher = Batcher(slow, Limits(waiting=4), Metrics())
    asyncio.run(ask())
    batcher.close()
    assert slow.asked == [1, 2]


def test_an_answer_that_takes_too_long_is_504(run: ew.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has an end, and the server goes on."""
    with client_of(run, seconds=0.2) as client:
        asked = run.predict

        def slowly(samples: Any) -> Any:
            time.sleep(0.5 if len(samples[0]["text"]) == 7 else 0)
            return asked(samples)

        monkeypatch.setattr(client.app.state.routes.batcher, "_predict", slowly)  # type: ignore[attr-defined]
        late = client.post("/predict", json=sample(steps=7))
        assert (late.status_code, late.json()["error"]) == (504, "There was no answer within 1 s.")
        time.sleep(0.5)
        assert client.post("/predict", json=sample()).status_code == 200


def test_a_fault_of_the_server_is_told_to_its_log_alone(run: ew.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is 500 with a sentence; where it was stands in the log."""

    def broken(_: Any) -> Any:
        raise RuntimeError("/a/secret-folder/model")

    with client_of(run) as client:
        monkeypatch.setattr(client.app.state.routes.batcher, "_predict", broken)  # type: ignore[attr-defined]
        answer = client.post("/predict", json=sample())
        assert (answer.status_code, "secret-folder" in answer.text) == (500, False)
        batch = client.post("/predict/batch", json={"samples": [sample()] * 2})
        assert batch.json()["answers"][0] == {"error": "The server has failed at this; its log says why."}
        assert "RuntimeError: /a/secret-folder/model" in client.log[0]  # type: ignore[attr-defined]
