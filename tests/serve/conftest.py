"""Servers of the tests, in this process; what needs the extra is skipped without it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from senses import registry_of, train_run
from training import small, start

import emotiwave as ew
from emotiwave_core.serve import PACKAGES


@pytest.fixture(scope="session")
def packages() -> None:
    """The packages of the extra, or the test is skipped."""
    for name in PACKAGES:
        pytest.importorskip(name, reason="the extra `serve` is not installed")


@pytest.fixture(scope="session")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run on arrays of three modalities."""
    folder = tmp_path_factory.mktemp("served") / "secret-folder"
    start(small(), tiny, folder)
    return ew.open_run(folder, device="cpu")


@pytest.fixture(scope="session")
def watching(tmp_path_factory: pytest.TempPathFactory) -> tuple[ew.Run, Path]:
    """A run that reads recordings by extractors of numpy alone, and its registry."""
    folder = tmp_path_factory.mktemp("watching")
    return train_run(folder), registry_of(folder)


@pytest.fixture(scope="session")
def client(run: ew.Run, packages: None) -> Iterator[Any]:
    """A client of a server of the run."""
    from served import client_of

    with client_of(run) as client:
        yield client
