"""Runs of the Python face that its tests share: trained once in a session, and not written to."""

from pathlib import Path
from typing import Any

import pytest

import emotiwave as ew

SMALL: dict[str, Any] = {
    "encoder": "bilstm:hidden_size=4",
    "seed": 1,
    "model": {"head": 8},
    "training": {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2},
}


def _train(folder: Path, out: Path, /, **settings: Any) -> ew.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])
        return ew.train(ew.load_dataset(folder), out=out, device="cpu", **{**SMALL, **settings})


@pytest.fixture(scope="session")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run on the tiny data set."""
    return _train(tiny, tmp_path_factory.mktemp("api") / "run")


@pytest.fixture(scope="session")
def multi(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A multi-label run, whose sequences are averaged and cut."""
    data = {"downsample": {"audio": 3, "visual": 2}, "max_steps": {"audio": 2, "visual": 2, "text": 3}}
    return _train(tiny, tmp_path_factory.mktemp("multi") / "run", objective={"kind": "multi"}, data=data)
