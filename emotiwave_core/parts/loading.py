"""Who provides a part, and what a module offers. Nothing is imported until it is asked for."""

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pluggy

from emotiwave_core import hookspecs
from emotiwave_core.errors import PluginError, choices
from emotiwave_core.io.untrusted import is_file
from emotiwave_core.parts.guard import asked_to_end, forbid_exit, in_words, loading, preserve_global_state

GROUP = "emotiwave"
KINDS = {"encoder": "register_encoders", "fusion": "register_fusions", "dropout": "register_dropout_policies"}
WATCH = "watch"  # plugins that watch a run: they offer no part, their hooks are called


@attrs.frozen
class Provider:
    """Who offers a part: a distribution through an entry point, or a file that the user named."""

    kind: str
    name: str
    origin: str  # the distribution, or the file's path
    version: str
    load: Callable[[], ModuleType] = attrs.field(eq=False, repr=False)


def same_distribution(one: str, other: str) -> bool:
    """Whether two names are the same distribution (PEP 503: case, '-', '_' and '.' do not count)."""
    return one.lower().replace("_", "-").replace(".", "-") == other.lower().replace("_", "-").replace(".", "-")


def offers(module: ModuleType, origin: str) -> dict[tuple[str, str], type]:
    """What a module's hooks offer. A manager of its own for each module, so that one cannot spoil another."""
    from emotiwave_core.interfaces import DropoutPolicy, Encoder, Fusion

    bases = {"encoder": Encoder, "fusion": Fusion, "dropout": DropoutPolicy}
    offered: dict[tuple[str, str], type] = {}

    def register(kind: str, name: str, part: type) -> None:
        base = bases[kind]
        if not (isinstance(part, type) and issubclass(part, base)):
            given = f"an instance of {type(part).__name__}" if isinstance(part, base) else repr(part)[:80]
            raise PluginError(
                f"{origin} offers {name!r} as {kind}, but what it gives is no subclass of {base.__name__}: "
                f'it is {given}. Write register("name", Class) with `class Class({base.__name__})`.'
            )
        offered[kind, name] = part

    _check_hooks(module, origin)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    failed = f"The hooks of {origin} fail"
    try:
        with forbid_exit(failed), preserve_global_state(f"The plugin {origin}", "in its hooks"):
            manager.register(module)
            for kind, hook in KINDS.items():
                getattr(manager.hook, hook)(register=functools.partial(register, kind))
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{failed}: {in_words(error)}.") from error
    return offered


def watches(module: ModuleType) -> bool:
    """Whether a module has hooks other than those that offer parts."""
    return any(hasattr(f, "emotiwave_impl") and name not in KINDS.values() for name, f in _functions(module).items())


def what_is_missing(module: ModuleType) -> str:
    """Why a module offers nothing, as far as can be seen."""
    from emotiwave_core.interfaces import DropoutPolicy, Encoder, Fusion

    functions = _functions(module)
    bare = [name for name in KINDS.values() if name in functions and not hasattr(functions[name], "emotiwave_impl")]
    if bare:
        return f"its function {bare[0]} lacks the decorator @hookimpl (from emotiwave_core import hookimpl)."
    if any(name in functions for name in KINDS.values()):
        return 'its hook never calls register("name", Class) for it.'
    if marked := [name for name, value in functions.items() if hasattr(value, "emotiwave_impl")]:
        return f"it watches a run ({', '.join(marked)}), and there are no laws for that."
    for base, hook in zip((Encoder, Fusion, DropoutPolicy), KINDS.values(), strict=True):
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, base) and value is not base:
                return f'add `@hookimpl`, `def {hook}(register):` and in it `register("{name.lower()}", {name})`.'
    return "it defines no subclass of Encoder, Fusion or DropoutPolicy, and no hook that registers one."


def _check_hooks(module: ModuleType, origin: str) -> None:
    """PluginError for a misspelt hook."""
    hooks = [name for name, value in vars(hookspecs).items() if hasattr(value, "emotiwave_spec")]
    for name, value in _functions(module).items():
        if hasattr(value, "emotiwave_impl") and name not in hooks:
            raise PluginError(f"{origin}: there is no hook '{name}'.{choices(name, hooks)}")


def _functions(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if inspect.isfunction(value)}


def installed() -> Iterator[Provider]:
    """Everything that has an entry point, without importing it."""
    seen = set()
    for point in entry_points(group=GROUP):
        kind, _, name = point.name.partition(".")
        origin = point.dist.name if point.dist else "unknown"
        if kind in (*KINDS, WATCH) and name and (point.name, origin) not in seen:
            seen.add((point.name, origin))
            yield Provider(kind, name, origin, point.dist.version if point.dist else "", _loader(point))


def _loader(point: EntryPoint) -> Callable[[], ModuleType]:
    def load() -> ModuleType:
        owner = point.dist.name if point.dist else "unknown"
        with loading(f"the plugin '{point.name}' of {owner}", point.module):
            try:
                return importlib.import_module(point.module)
            except BaseException as error:
                if asked_to_end(error) or isinstance(error, Exception | SystemExit):
                    raise
                raise ImportError(in_words(error)) from error  # whatever it is: it is the plugin's, and not our end

    return load


@functools.cache
def load_file(label: str, path: Path) -> ModuleType:
    """The module in a file that the user named."""
    if not is_file(path):
        raise PluginError(f"The plugin '{label}' names {path}, which is not there.")
    spec = importlib.util.spec_from_file_location(f"emotiwave_local_{label}", path)
    if spec is None or spec.loader is None:
        raise PluginError(f"The plugin '{label}' names {path}, which is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and annotations look their module up
    try:
        with loading(f"the plugin '{label}' ({path})", spec.name):
            spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(spec.name, None)
        if asked_to_end(error):
            raise
        raise PluginError(f"{path} does not load: {in_words(error)}.") from error
    return module
