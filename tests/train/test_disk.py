"""A disk that is full or read-only, at every place where something is written: a sentence, and nothing is lost."""

import json
import resource
import subprocess
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from forked import Ended, emotiwave, forked
from killed_runs import Whole, all_of, command
from safetensors import safe_open

KB = 1024
RUN = [4, 12, 20, 28, 36, 44, 52, 60, 72, 84, 96, 110, 130, 150, 180, 220, 260, 300, 350, 400, 450, 500, 560, 620, 700]
STORE = [4, 8, 16, 32, 64, 96, 128, 160]
FEW = [260]  # of RUN, in the short suite


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own. It is made small, and read-only, by mounting it again."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def again(disk: Path, how: str) -> None:
    """Mount it again, in another way."""
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


def said(ended: Ended, code: int, *words: str) -> None:
    """The exit code, one sentence with these words, and no traceback."""
    assert ended.code == code, ended
    assert all(word in ended.said for word in words), ended
    assert "Traceback" not in ended.err
    assert "Internal error" not in ended.err


def all_whole(folder: Path) -> None:
    """Every file that has a real name is one that its reader takes."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_text().splitlines())
        elif path.suffix == ".toml":
            tomllib.loads(path.read_text())
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                assert all(file.get_tensor(name) is not None for name in file.keys())  # noqa: SIM118
        elif path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
        elif path.suffix == ".csv":
            assert path.read_text().endswith("\n")
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        assert not path.name.endswith(".part")  # also those are taken away


def run_on_a_small_disk(whole: Whole, disk: Path, tmp_path: Path, size: int, what: str) -> None:
    """A run whose folder, or whose store, is on a disk of `size` KB, and once more when there is room."""
    cache, run = (tmp_path / "cache", disk / "run") if what == "run" else (disk / "cache", tmp_path / "run")
    environment = {"EMOTIWAVE_CACHE": str(cache)}
    again(disk, f"size={size}k")
    ended = forked(
        partial(emotiwave, *command(whole.data, run)),
        folder=tmp_path,
        environment=environment,
        pictures=whole.pictures,
    )
    if ended.code != 0:
        said(ended, 5, "Cannot write", str(disk), "No space left on device", "free some space")
    all_whole(disk)
    again(disk, "size=64m")
    known = (run / "recipe.toml").exists()
    rest = ["run", "--resume", run] if known else command(whole.data, run)
    ended = forked(partial(emotiwave, *rest), folder=tmp_path, environment=environment)
    assert ended.code == 0, ended
    assert all_of(run) == whole.outcome
    all_whole(disk)
    if what == "store":
        left = {path.name.rpartition(".")[2] for path in (cache / "stores").iterdir()}
        assert not any("building" in name for name in left)


@pytest.mark.full
@pytest.mark.parametrize("size", FEW)
def test_a_full_disk_loses_nothing(whole: Whole, disk: Path, tmp_path: Path, size: int) -> None:
    """Exit code 5 and what to do; what was written is whole; with room the run ends as if it had never been full."""
    run_on_a_small_disk(whole, disk, tmp_path, size, "run")


@pytest.mark.stress
@pytest.mark.parametrize("size", [size for size in RUN if size not in FEW])
def test_a_disk_that_is_full_anywhere_in_a_run(whole: Whole, disk: Path, tmp_path: Path, size: int) -> None:
    """As above, at whatever is being written when the disk is full."""
    run_on_a_small_disk(whole, disk, tmp_path, size, "run")


@pytest.mark.stress
@pytest.mark.parametrize("size", STORE)
def test_a_disk_that_is_full_while_the_store_is_built(whole: Whole, disk: Path, tmp_path: Path, size: int) -> None:
    """As above, for the store in the cache folder."""
    run_on_a_small_disk(whole, disk, tmp_path, size, "store")


def limited(size: int, *arguments: object) -> int:
    """The program, which may write no file of more than so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return emotiwave(*arguments)


@pytest.mark.full
@pytest.mark.parametrize("size", [6 * KB, 20 * KB])
def test_a_file_that_may_not_grow(whole: Whole, tmp_path: Path, size: int) -> None:
    """A limit of file sizes is told as a full disk is, and leaves no half file."""
    run, environment = tmp_path / "run", {"EMOTIWAVE_CACHE": str(tmp_path / "cache")}
    ended = forked(partial(limited, size, *command(whole.data, run)), folder=tmp_path, environment=environment)
    said(ended, 5, "Cannot write", "File too large", "free some space")
    all_whole(tmp_path)


@pytest.mark.slow
def test_read_only_folders(whole: Whole, disk: Path, tmp_path: Path) -> None:
    """Whatever would be written there is named with its way out; what only reads works; nothing is changed."""
    environment = {"EMOTIWAVE_CACHE": str(tmp_path / "cache")}
    run = disk / "run"

    def call(*arguments: object, **more: str) -> Ended:
        return forked(partial(emotiwave, *arguments), folder=tmp_path, environment=environment | more)

    assert call(*command(whole.data, run)).code == 0
    before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    again(disk, "ro")
    for arguments in (
        command(whole.data, disk / "other"),
        ["run", "--resume", run],
        ["evaluate", run],
        ["evaluate", run, "--protocol", "random"],
        ["report", run],
        ["data", "sample", disk / "sample"],
        ["plugins", "new", "encoder", "mine", "--folder", disk],
        ["explain", run, "--sample", "v36[0]", "--picture", disk / "a.png"],
    ):
        said(call(*arguments), 5, "Cannot write", str(disk), "Read-only file system", "choose another folder")
    said(
        call(*command(whole.data, tmp_path / "run"), EMOTIWAVE_CACHE=str(disk / "c")),
        5,
        "Cannot write",
        "EMOTIWAVE_CACHE",
    )
    assert call("evaluate", run, "--fold", "valid").code == 0
    assert call("explain", run).code == 0
    assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_store_is_read_from_a_read_only_cache(whole: Whole, disk: Path, tmp_path: Path) -> None:
    """A cache that others have filled need not be writable."""
    environment = {"EMOTIWAVE_CACHE": str(disk / "cache")}
    for out in ("one", "two"):
        work = partial(emotiwave, *command(whole.data, tmp_path / out))
        assert forked(work, folder=tmp_path, environment=environment).code == 0
        again(disk, "ro")
    assert all_of(tmp_path / "two") == whole.outcome
