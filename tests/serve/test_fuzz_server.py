"""Requests made up from the server's own description, by schemathesis: none fails, no answer is outside of it."""

from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("schemathesis", reason="schemathesis is not installed")
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from served import ADDRESS, client_of

import emotiwave as ew


def beyond_the_schema(path: str) -> list[Any]:
    """Checks that do not hold: no schema says that times are as many as steps; a batch answers right samples."""
    return [positive_data_acceptance, *([negative_data_rejection] if path == "/predict/batch" else [])]


def fuzz(run: ew.Run, examples: int) -> int:
    """So many right and so many wrong requests to each route; the number of those that were answered."""
    with client_of(run) as client:
        described, app = client.get("/openapi.json").json(), client.app
    answered = 0
    with asgi.get_client(app) as session:
        for result in schemathesis.openapi.from_dict(described).get_all_operations():
            operation = result.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 1 + bool(operation.body)]:
                answered += ask(operation, mode, session, examples)
    return answered


def ask(operation: Any, mode: GenerationMode, session: Any, examples: int) -> int:
    """So many requests of one kind to one route, each answer held against the description."""
    answered, excluded = 0, beyond_the_schema(operation.path)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        nonlocal answered
        answer = case.call_and_validate(base_url=ADDRESS, session=session, excluded_checks=excluded)
        answered += answer.status_code == 200

    holds()
    return answered


@pytest.mark.full
def test_made_up_requests_are_answered_as_described(run: ew.Run) -> None:
    """A few requests to each route."""
    assert fuzz(run, 2) >= 4


@pytest.mark.slow
def test_many_made_up_requests_are_answered_as_described(run: ew.Run) -> None:
    """So are many."""
    assert fuzz(run, 300) >= 400
