"""The folder of a run: taken by one run at a time, and never from anything that is not a run."""

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import attrs
import tomli_w

from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.io.atomic import out_of_space, write_text
from emotiwave_core.io.locks import BusyError, check_held, holding
from emotiwave_core.io.untrusted import is_folder
from emotiwave_core.runs.data_file import DATA, read_data, read_data_folder, write_data_folder
from emotiwave_core.runs.history import HISTORY
from emotiwave_core.runs.provenance import RUN

RECIPE = "recipe.toml"
JOB = ".job"  # which job of a launcher has begun the run
LOCK = ".lock"
REPORT = "report.html"  # which a run writes last
LOG = "run.log"  # what the run could not say, because nobody was there any more to hear it


@contextlib.contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Hold a run's folder, and sweep it first. A second run into it is refused; a killed one leaves no hold behind.

    ResourceError where the folder is read-only.
    """
    with contextlib.ExitStack() as held:
        with out_of_space(run / LOCK):
            try:
                held.enter_context(holding(run, LOCK))
            except BusyError as error:
                raise SettingsError(f"Another run is at work in {run}; wait for it or choose another --out.") from error
        if (run / RECIPE).exists():
            _sweep(run, "*")
        yield


def adding_to(run: Path) -> AbstractContextManager[None]:
    """`alone_in`, to add to a run; where there is none, whoever reads it says so."""
    return alone_in(run) if (run / RECIPE).exists() else contextlib.nullcontext()


def next_folder(name: str) -> Path:
    """Make `runs/NAME-1`, or the one with the next number that is free. ResourceError where none can be made."""
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:40] or "run"
    runs = Path("runs")
    with out_of_space(runs):
        runs.mkdir(exist_ok=True)  # an error where it is a file, or a link that leads nowhere
    for number in itertools.count(1):
        folder = runs / f"{safe}-{number}"
        with out_of_space(folder), contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("the numbers have no end")


def take(recipe: Recipe, data: Path, out: Path, held: contextlib.ExitStack, job: str | None) -> Recipe:
    """Make a run's folder, which is this run's as long as `held` is. The recipe as `take_up` will read it.

    SettingsError where it holds a run already, unless the same `job` has begun it, or other files.
    """
    text, folder = tomli_w.dumps(recipe.to_table()), str(data.resolve())
    with out_of_space(out):
        out.mkdir(parents=True, exist_ok=True)
    held.enter_context(alone_in(out))
    same_job = job is not None and (out / JOB).exists() and (out / JOB).read_text(encoding="utf-8") == job
    if (out / RECIPE).exists():
        same = same_job and (out / RECIPE).read_text(encoding="utf-8") == text
        if not same or str(read_data_folder(out)) != folder:
            raise SettingsError(f"{out} holds a run already: continue it with --resume {out}, or choose another --out.")
        return _written(out)
    for name in (JOB, DATA, RECIPE):
        _sweep(out, name)
    if not _is_free(out):
        (out / LOCK).unlink()
        raise SettingsError(f"{out} is not empty and holds no run: choose another --out, so that no file is lost.")
    if job is not None:
        write_text(out / JOB, job)
    write_data_folder(out, folder)
    write_text(out / RECIPE, text)  # the last: a folder without it is taken anew by the same command
    return _written(out)


def take_up(
    out: Path, held: contextlib.ExitStack, auto_batch: bool = False, data: Path | None = None
) -> tuple[Recipe, Path]:
    """Read the recipe and the folder of the data of a run, whose own folder is held as long as `held` is.

    With `auto_batch` its recipe has that setting from now on. `data` is where its data are now, if they have moved.
    """
    if not (out / RECIPE).exists() or not (out / DATA).exists():
        raise SettingsError(f"{out} holds no run to resume; start one without --resume.")
    held.enter_context(alone_in(out))
    recipe = _written(out)
    if auto_batch and not recipe.computing.auto_batch:
        recipe = attrs.evolve(recipe, computing=attrs.evolve(recipe.computing, auto_batch=True))
        write_text(out / RECIPE, tomli_w.dumps(recipe.to_table()))
    folder = data or read_data_folder(out)
    if not is_folder(folder):
        raise DataError(f"The data of {out} were in {folder}, which is not there: say where they are by --data.")
    return recipe, folder


def free(out: Path) -> None:
    """Remove the files of a run that has kept no epoch: its folder can be taken by a corrected try.

    ResourceError where the folder is another's by now.
    """
    check_held(out)
    for name in (RECIPE, DATA, HISTORY, RUN, LOG, JOB, LOCK):
        (out / name).unlink(missing_ok=True)


def _written(out: Path) -> Recipe:
    return Recipe.from_table(read_recipe(out / RECIPE), str(out / RECIPE))


def _is_free(out: Path) -> bool:
    """True where it holds nothing but the files of a run that was killed before its recipe was written."""
    names = {path.name for path in out.iterdir()} - {LOCK, JOB, LOG}
    if names != {DATA}:
        return not names
    try:
        return read_data(out) is None
    except DataError:
        return False


def _sweep(out: Path, name: str) -> None:
    """Remove what a kill has left of a file that was being written (`io.atomic.write_bytes` names it so)."""
    for folder in (out, out / "protocols"):
        for torn in folder.glob(f".{name}.????????.part"):
            torn.unlink(missing_ok=True)
