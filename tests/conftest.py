"""Fixtures that tests share."""

import contextlib
import gc
import multiprocessing
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.assertion import rewrite
from warm_python import warm_python

# The libraries are imported late: the process that hands out the tests reads this file too, and needs none.

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


LONG = ("full", "slow", "stress")  # marks of the tests that are not in the short suite
MOST_EXAMPLES = 5  # of a test with generated examples, unless all are asked for


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make slow` tries all examples of every law; `make test` tries a few."""
    parser.addoption("--all-examples", action="store_true", help="try as many examples as each test says")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Cut the number of generated examples, and have none refused for taking long: the machine may be busy."""
    from hypothesis import HealthCheck, is_hypothesis_test, settings

    test = getattr(item, "obj", None)
    if is_hypothesis_test(test):
        chosen = test._hypothesis_internal_use_settings
        long = any(item.iter_markers("slow")) or any(item.iter_markers("stress"))
        is_cut = not long and not item.config.getoption("--all-examples")
        test._hypothesis_internal_use_settings = settings(
            chosen,
            max_examples=min(chosen.max_examples, MOST_EXAMPLES) if is_cut else chosen.max_examples,
            deadline=None,
            suppress_health_check={*chosen.suppress_health_check, HealthCheck.too_slow},
        )


@pytest.hookimpl(tryfirst=True)  # before any is deselected by its marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all rows of a test `full`, but for as many as `short_rows` says, which are spread evenly over them."""
    rows = defaultdict(list)
    for item in items:
        if (mark := item.get_closest_marker("short_rows")) and not any(map(item.get_closest_marker, LONG)):
            rows[item.nodeid.partition("[")[0], mark.args[0]].append(item)
    for (_, count), test in rows.items():
        short = {number * len(test) // count for number in range(count)}
        for number, item in enumerate(test):
            if number not in short:
                item.add_marker("full")


def pytest_collection_finish() -> None:
    """What is there before the first test stays to the end: no collection of garbage need look at it again."""
    gc.collect()
    gc.freeze()


def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """The workers are forked from one process that has imported the libraries, and find the tests compiled."""
    warm = contextlib.ExitStack()
    config.add_cleanup(warm.close)
    compiling = threading.Thread(target=_compile_tests, args=(config,))
    compiling.start()
    launcher = warm.enter_context(warm_python())
    compiling.join()
    for spec in specs:
        spec.python = launcher


def _compile_tests(config: pytest.Config) -> None:
    """Compile the tests that have changed since, as pytest does it: else each worker would, for itself."""
    if sys.dont_write_bytecode:
        return
    for path in Path(__file__).parent.rglob("test_*.py"):
        compiled = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
        if not compiled.is_file() or compiled.stat().st_mtime < path.stat().st_mtime:
            compiled.parent.mkdir(exist_ok=True)
            source, code = rewrite._rewrite_test(path, config)
            rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, compiled)


def pytest_configure_node(node: Any) -> None:
    """A worker is told what it was started with."""
    node.workerinput |= {"python": sys.executable, "launcher": node.gateway.spec.python}


def pytest_configure(config: pytest.Config) -> None:
    """In a worker, `sys.executable` begins cold, as elsewhere; what multiprocessing starts begins warm."""
    if told := getattr(config, "workerinput", None):
        sys.executable = told["python"]
        multiprocessing.set_executable(told["launcher"])


@pytest.fixture(scope="session", autouse=True)
def _quick() -> None:
    import torch

    torch.set_num_threads(1)  # on few cores, several workers with several threads each are slower


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """No power is cut here, and thousands of files need not reach the disk; `test_power.py` looks at the program's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Ctrl-C reaches the tests that send it, also where the suite was started in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have no pictures, which take longer than a small training, except in tests that ask for them."""
    if "pictures" not in request.keywords:
        monkeypatch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])


@pytest.fixture(scope="session")
def launcher(request: pytest.FixtureRequest) -> Iterator[str]:
    """An interpreter that begins with the libraries imported."""
    if told := getattr(request.config, "workerinput", None):
        yield told["launcher"]
    else:
        with warm_python() as launcher:
            yield launcher


@pytest.fixture
def warm_children(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of `sys.executable` begin with the libraries imported."""
    monkeypatch.setattr(sys, "executable", launcher)


@pytest.fixture(scope="session", autouse=True)
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests: a data set that several train on is packed once, and known by its path and time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTIWAVE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("EMOTIWAVE_CONFIG", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, empty."""
    monkeypatch.setenv("EMOTIWAVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three modalities that is read and trained on in a second."""
    from datasets import write_dataset

    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real data beside the checkout, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no folder of real data (../shared/data) beside the checkout")
    return SHARED_DATA
