"""The laws that all kinds of plugin share: what their constructor and their module promise."""

import functools
import inspect
import json
import os
import random
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import tomli_w
import torch
from safetensors import safe_open
from torch import nn

from emotiwave_core.config.options import Option, bare, check_options, is_part
from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import LearnedPart
from emotiwave_core.layers.parameters import changed_form, form_of, numbers_of, same_numbers
from emotiwave_core.testing.laws import BrokenLaw, Contract, Remark, expect, law, not_tried, seed_torch

SECONDS = 300.0  # for a module to be imported, on a busy machine too
GENERATORS: dict[str, Callable[[], object]] = {  # what each draws next tells its state
    "torch": lambda: torch.rand(4).tolist(),
    "numpy": lambda: np.random.rand(4).tolist(),  # noqa: NPY002 -- the global one is the one in question
    "random": lambda: [random.random() for _ in range(4)],
}
IMPORT = """
import importlib, importlib.util, json, os, random, sys
answers = os.dup(1)
os.dup2(2, 1)  # what the module prints is no answer
import numpy, torch, emotiwave_core.testing
def states():
    numbers = numpy.random.get_state()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": [numbers[1].tolist(), *numbers[2:]],
        "random": random.getstate(),
    }
name, path = sys.argv[1:]
before = states()
try:
    spec = importlib.util.find_spec(name)
except ImportError:
    spec = None
if spec and spec.origin == path:
    importlib.import_module(name)
else:  # a file that is not on the path
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
after = states()
os.write(answers, json.dumps([name for name in before if before[name] != after[name]]).encode())
"""


class PluginContract(Contract):
    """The laws that every kind of part keeps."""

    positional: tuple[str, ...] = ()  # names of the constructor's parameters before the options
    arguments: tuple[Any, ...] = ()  # for these, as small as the laws take them
    granted: tuple[str, ...] = ()  # laws that all others need: where one of them is broken, no other is tried

    def once(self) -> object:
        """A new plugin that has been used once, in training where it is trained."""
        raise NotImplementedError

    def first_arguments(self) -> tuple[Any, ...]:
        """The constructor's arguments before the options, of a kind that makes them when they are asked for."""
        return self.arguments

    @law("Give each option a default of its own type that TOML can hold: no nan, no infinity, a list for a list.")
    def test_options_survive_a_recipe(self) -> None:
        """The defaults of the options, written into a recipe's TOML and read back, are the same."""
        options = {name: option for name, option in _options(self.once()).items() if option.default is not None}
        written = tomli_w.dumps({name: option.default for name, option in options.items()})
        try:
            values = check_options(tomllib.loads(written), options, "It")
        except SettingsError as error:
            raise BrokenLaw(f"A recipe with the defaults is refused: {error}") from error
        for name, option in options.items():
            came = values[name]
            same = type(came) is type(option.default) and came == option.default
            expect(same, f"The default of '{name}', {option.default!r}, came back as {came!r}.")

    @law("Leave seeding to the run: torch.manual_seed and its like decide what everybody else draws.")
    def test_seeds_nothing(self) -> None:
        """Constructing and using it leaves no global random generator at a number that it chose itself."""
        with _seeded(1):
            self.once()
            first = {name: draw() for name, draw in GENERATORS.items()}
        with _seeded(2):
            self.once()
            second = {name: draw() for name, draw in GENERATORS.items()}
        seeded = [name for name in GENERATORS if first[name] == second[name]]
        expect(not seeded, f"After it the generator of {' and '.join(seeded)} draws the same from two different seeds.")

    @law("Draw and seed nothing at module level: move it into the constructor, or use a torch.Generator of its own.")
    def test_import_draws_nothing(self) -> None:
        """Importing the module that defines it neither draws from a global random generator nor seeds one."""
        name = type(self.once()).__module__
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or name == "__main__":
            raise not_tried("it was not defined in a module that can be imported again")
        touched = _touched_at_import(name, file)
        expect(not touched, f"Importing {name} changed the state of {' and '.join(touched)}.")


class LearnedPartContract(PluginContract):
    """The laws that encoders and fusions share."""

    def make(self, *arguments: Any) -> Any:
        """A new part for these arguments."""
        raise NotImplementedError

    def fresh(self) -> Any:
        """A new part that has not been used."""
        return self.make(*self.arguments)

    def use(self, part: Any) -> Any:
        """The part, used once in training."""
        raise NotImplementedError

    @law("Read weights in initialise(): a run must be rebuilt where its checkpoint is no more.")
    def test_constructing_reads_nothing(self) -> None:
        """The constructor opens no file and connects to nobody, so that a run rebuilds from its folder alone."""
        self.make(*self.arguments)  # what is imported late is imported by now
        with _accesses() as seen:
            self.make(*self.arguments)
        expect(not seen, f"Constructing it read {' and '.join(seen[:3])}.")

    @law("Copy numbers into what the constructor has made (load_state_dict), and freeze by parameter_groups().")
    def test_initialise_changes_numbers_alone(self) -> None:
        """Its initialise(), if any, leaves names, shapes, types and what is trained, and returns the files it read."""
        part = self.make(*self.arguments)
        before = form_of(part)
        read = initialised(part)
        if changed := changed_form(before, form_of(part)):
            raise BrokenLaw(f"It {changed} when it is initialised.")
        absent = [str(path) for path in read or () if not Path(path).exists()]
        expect(not absent, f"It returns {' and '.join(absent)}, which is not there.")

    @law("Load with strict=True, or by names that you have compared; and return the paths of all that was read.")
    def test_initialise_reads_what_it_says(self) -> None:
        """An initialise() that returns files has changed a number by them, and one that reads files returns some."""
        initialised(self.make(*self.arguments))  # what is imported late is imported by now
        part = self.make(*self.arguments)
        before = numbers_of(part)
        with _accesses() as seen:
            returned = list(initialised(part) or ())
        if returned and same_numbers(before, numbers_of(part)):
            raise BrokenLaw(f"It returns {returned[0]}, and all its numbers are as they were.")
        expect(bool(returned) or not seen, f"It reads {' and '.join(seen[:3])} and returns no path.")

    @law("Keep it by register_buffer, if it decides anything.")
    def test_keeps_nothing_beside_its_buffers(self) -> None:
        """No attribute changes in use but parameters and buffers: the others are in no run folder."""
        part = self.fresh()
        before = _attributes(part)
        after = _attributes(self.use(part))
        changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if changed:
            raise Remark(
                f"Its attribute {' and '.join(changed[:3])} is another after a batch, and stands in no run folder: "
                "what decides a result belongs in a buffer (register_buffer)."
            )


def initialised(part: object) -> Sequence[Path] | None:
    """Initialise a part as a training does, and return what it returns; not tried where its weights are not here."""
    if not isinstance(part, LearnedPart):
        return None  # another law says so
    try:
        with torch.no_grad():
            return part.initialise()
    except Exception as error:
        first = " ".join(f"{type(error).__name__}: {error}".split())[:150]
        raise not_tried(f"it could not be initialised here ({first})") from error


def _attributes(part: nn.Module) -> dict[str, object]:
    """The plain numbers, texts, arrays and collections of them that are attributes of a part and its modules."""
    of_all = vars(nn.Module())
    return {
        f"{name}.{attribute}" if name else attribute: _plain(value)
        for name, module in part.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in of_all
    }


def _plain(value: object) -> object:
    """A value that can be compared: what is neither number, text, array nor a collection counts by its type alone."""
    if isinstance(value, int | float | complex | str | bytes | None):
        return value if value == value else "nan"
    if isinstance(value, torch.Tensor | np.ndarray):
        array = value.detach().cpu().float().numpy() if isinstance(value, torch.Tensor) else value
        return (array.shape, array.tobytes())
    if isinstance(value, dict):
        return [(_plain(key), _plain(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return type(value).__qualname__


CODE = {".py", ".pyc", ".so", ".pyi", ".pyd", ".dylib"}
SYSTEM = ("/proc/", "/sys/", "/dev/")
_seen: list[tuple[int, str]] | None = None  # of the audit hook, while somebody watches: the thread, and what it read


@contextmanager
def _accesses() -> Iterator[list[str]]:
    """Collect the files that this thread opens meanwhile, but for code, and the addresses that it connects to."""
    global _seen
    _watch_accesses()
    names: list[str] = []
    _seen = []
    try:
        with _safetensors_watched():
            yield names
    finally:
        seen, _seen = _seen, None
        names += dict.fromkeys(name for thread, name in seen if thread == threading.get_ident())


@functools.cache
def _watch_accesses() -> None:
    """Install the hook that Python calls for what it opens: once, for it cannot be taken away."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _seen is None or event not in ("open", "socket.connect", "socket.getaddrinfo"):
            return
        if event != "open":
            _seen.append((threading.get_ident(), f"from {arguments[1 if event == 'socket.connect' else 0]}"))
        elif isinstance(arguments[0], str | bytes):
            name = os.fsdecode(arguments[0])
            if Path(name).suffix not in CODE and not name.startswith(SYSTEM):
                _seen.append((threading.get_ident(), name))

    sys.addaudithook(hook)


@contextmanager
def _safetensors_watched() -> Iterator[None]:
    """Tell of the files that safetensors opens too: it does so in Rust, of which Python's audit hooks hear nothing."""

    real = safe_open  # whose name in this module is replaced too

    def watched(filename: Any, *arguments: Any, **options: Any) -> Any:
        if _seen is not None:
            _seen.append((threading.get_ident(), os.fsdecode(filename)))
        return real(filename, *arguments, **options)

    spaces = [vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
    holders = [space for space in spaces if space.get("safe_open") is real]
    for space in holders:
        space["safe_open"] = watched
    try:
        yield
    finally:
        for space in holders:
            space["safe_open"] = real


def expect_options(plugin: object, positional: tuple[str, ...]) -> None:
    """The constructor takes `positional`, then options that are keyword-only, typed and have defaults."""
    constructor = type(plugin).__init__
    if constructor is nn.Module.__init__ and not positional:
        return  # no constructor, no options
    parameters = list(inspect.signature(constructor).parameters.values())[1:]
    leading = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    expected = list(positional)
    expect(leading == expected, f"The constructor's positional arguments are {leading} where {expected} are due.")
    hints = get_type_hints(constructor)
    for parameter in parameters[len(positional) :]:
        name = parameter.name
        expect(
            parameter.kind == parameter.KEYWORD_ONLY, f"The constructor takes '{parameter}', which hides its options."
        )
        expect(name in hints, f"The option {name} has no type.")
        expect(_is_option(hints[name]), f"The option {name} has the type {hints[name]}, which no recipe can hold.")
        expect(parameter.default is not parameter.empty, f"The option {name} has no default.")


def _options(plugin: object) -> dict[str, Option]:
    """The options that are as `options_are_explicit` wants them."""
    constructor = type(plugin).__init__
    hints = get_type_hints(constructor)
    return {
        parameter.name: Option(parameter.name, hints[parameter.name], parameter.default)
        for parameter in inspect.signature(constructor).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.default not in (parameter.empty, None)
        and _is_option(hints.get(parameter.name))
    }


def _is_option(hint: Any) -> bool:
    hint = bare(hint)
    if get_origin(hint) in (list, dict):
        return all(_is_option(argument) for argument in get_args(hint))
    return get_origin(hint) is Literal or hint in (int, float, bool, str) or is_part(hint)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed all three global generators; those of numpy and random are put back (the law does it for torch's)."""
    numbers, state = np.random.get_state(), random.getstate()  # noqa: NPY002
    seed_torch(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(state)


@functools.cache
def _touched_at_import(name: str, file: str) -> tuple[str, ...]:
    """The generators that a module changes. In a process of its own: importing twice in one may do harm."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", IMPORT, name, file]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as expired:
        raise BrokenLaw(f"Importing {name} took longer than {SECONDS:.0f} s.") from expired
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BrokenLaw(f"{name} could not be imported in a process of its own ({last}).")
    return tuple(json.loads(done.stdout))
