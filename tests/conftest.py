"""Fixtures that tests share."""

from pathlib import Path

import pytest
import torch
from datasets import write_dataset

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A law that starts a process for each part is kept for `make slow`: test_catalogue.py imports all parts in one."""
    for item in items:
        if item.name == "test_import_draws_nothing":
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # on few cores, several workers with several threads each are slower


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTIWAVE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three modalities that is read and trained on in a second."""
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real data beside the checkout, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no folder of real data (../shared/data) beside the checkout")
    return SHARED_DATA
