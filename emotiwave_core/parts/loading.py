"""Finds installed plugins by their entry points, loads them and calls the hooks that offer parts.

Nothing is imported until it is asked for.
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import attrs
import pluggy

from emotiwave_core import hookspecs
from emotiwave_core.errors import PassedOver, PluginError, choices
from emotiwave_core.io.untrusted import is_file
from emotiwave_core.parts.guard import asked_to_end, forbid_exit, in_words, loading, preserve_global_state
from emotiwave_core.parts.kinds import KINDS, PartKind, base_names, part_kinds

GROUP = "emotiwave"
IN_A_PACKAGE = (
    " It is a module of a package, which a file alone is not: install the package (pip install -e FOLDER), and use its "
    "part by name, as in emotiwave plugins check NAME."
)


@attrs.frozen
class Provider:
    """Provider of a part: a distribution through an entry point, or a file that the user named."""

    kind: str
    name: str
    origin: str  # the distribution, or the file's path
    version: str
    load: Callable[[], ModuleType] = attrs.field(eq=False, repr=False)


def same_distribution(one: str, other: str) -> bool:
    """Compare the names of two distributions (PEP 503: case, '-', '_' and '.' do not count)."""
    return one.lower().replace("_", "-").replace(".", "-") == other.lower().replace("_", "-").replace(".", "-")


@functools.cache
def offers(module: ModuleType, origin: str) -> Mapping[tuple[str, str], type]:
    """Call a module's hooks once, for all that it offers: (kind, name) -> class.

    Each module has a plugin manager of its own, so that one cannot spoil another. PluginError where a hook fails, or
    offers what is not of its kind.
    """
    offered: dict[tuple[str, str], type] = {}

    def register(kind: PartKind, name: str, part: type) -> None:
        base = kind.base_class
        if not (isinstance(part, type) and issubclass(part, base)):
            offered_as = f"an instance of {type(part).__name__}" if isinstance(part, base) else repr(part)[:80]
            raise PluginError(
                f"{origin} offers {name!r} as {kind.name}, but what it gives is no subclass of {base.__name__}: "
                f'it is {offered_as}. Write register("name", Class) with `class Class({base.__name__})`.'
            )
        offered[kind.name, name] = part

    _check_hooks(module, origin)
    manager = hook_manager()
    failed = f"The hooks of {origin} fail"
    try:
        with forbid_exit(failed), preserve_global_state(f"The plugin {origin}", "in its hooks"):
            manager.register(module)
            for kind in part_kinds():
                getattr(manager.hook, kind.hook)(register=functools.partial(register, kind))
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{failed}: {in_words(error)}.") from error
    return offered


def hook_manager() -> pluggy.PluginManager:
    """A plugin manager that knows the hooks of watchers, and for each kind of part the one that offers it."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    offering = ModuleType("offering")
    vars(offering).update({kind.hook: hookspecs.hookspec(lambda register: None) for kind in part_kinds()})
    manager.add_hookspecs(offering)
    return manager


def watches(module: ModuleType) -> bool:
    """Tell whether a module has hooks other than those that offer parts."""
    offering = {kind.hook for kind in part_kinds()}
    return any(name not in offering for name in _marked(module))


def what_is_missing(module: ModuleType) -> str:
    """Say why a module offers nothing, as far as can be seen."""
    functions, marked = _functions(module), _marked(module)
    written = [kind.hook for kind in part_kinds() if kind.hook in functions]
    bare = [hook for hook in written if hook not in marked]
    if bare:
        return f"its function {bare[0]} lacks the decorator @hookimpl (from emotiwave_core import hookimpl)."
    if written:
        return 'its hook never calls register("name", Class) for it.'
    if marked:
        return f"it watches a run ({', '.join(marked)}), and there are no laws for that."
    for kind in part_kinds():
        base = kind.base_class
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, base) and value is not base:
                return f'add `@hookimpl`, `def {kind.hook}(register):` and in it `register("{name.lower()}", {name})`.'
    return f"it defines no subclass of {base_names()}, and no hook that registers one."


def _check_hooks(module: ModuleType, origin: str) -> None:
    """PluginError for a misspelt hook."""
    known = [*(kind.hook for kind in part_kinds()), *_marked(hookspecs, "emotiwave_spec")]
    for name in _marked(module):
        if name not in known:
            raise PluginError(f"{origin}: there is no hook '{name}'.{choices(name, known)}")


def _marked(module: ModuleType, mark: str = "emotiwave_impl") -> list[str]:
    """The functions of a module that carry a mark of pluggy's, those that implement a hook."""
    return [name for name, value in _functions(module).items() if hasattr(value, mark)]


def _functions(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if inspect.isfunction(value)}


def installed() -> Iterator[Provider]:
    """The providers of everything that has an entry point, without importing any."""
    seen = set()
    packages: dict[Distribution | None, tuple[str, str]] = {None: ("unknown", "")}
    for point in _entry_points():
        kind, _, name = point.name.partition(".")
        if point.dist and point.dist not in packages:  # each look at it parses all its METADATA
            packages[point.dist] = (point.dist.name, point.dist.version)
        origin, version = packages[point.dist]
        if kind in KINDS and name and (point.name, origin) not in seen:
            seen.add((point.name, origin))
            yield Provider(kind, name, origin, version, _loader(point, origin))


def _entry_points() -> Iterator[EntryPoint]:
    """The entry points of all distributions, the first of each name; of one that cannot be read a warning tells."""
    names = set()
    for distribution in distributions():
        name = getattr(distribution, "_normalized_name", None) or distribution.name  # the first costs no look into it
        if name not in names:
            names.add(name)
            try:
                yield from (point for point in distribution.entry_points if point.group == GROUP)
            except (OSError, ValueError) as error:
                told = f"The entry points of the package {name} cannot be read ({in_words(error)})."
                warnings.warn(told, PassedOver, stacklevel=2)


def _loader(point: EntryPoint, owner: str) -> Callable[[], ModuleType]:
    def load() -> ModuleType:
        with loading(f"the plugin '{point.name}' of {owner}", point.module):
            try:
                return importlib.import_module(point.module)
            except BaseException as error:
                if asked_to_end(error) or isinstance(error, Exception | SystemExit):
                    raise
                raise ImportError(in_words(error)) from error  # whatever it is: it is the plugin's, and not our end

    return load


class TrustedSource(SourceFileLoader):
    """Loads the source of a file that has this SHA-256, and no compiled code beside it. ImportError for another one."""

    def __init__(self, name: str, path: Path, sha256: str | None) -> None:
        super().__init__(name, str(path))
        self.sha256 = sha256  # None: whatever the file holds

    def get_code(self, fullname: str) -> CodeType:
        """Compile the bytes that were looked at."""
        source = self.get_data(self.path)
        if self.sha256 is not None and hashlib.sha256(source).hexdigest() != self.sha256:
            raise ImportError("it has changed since you trusted it")
        return self.source_to_code(source, self.path)


@functools.cache
def load_file(label: str, path: Path, sha256: str | None = None) -> ModuleType:
    """Import a file that the user named, from its source alone: what lies in `__pycache__` beside it is not read.

    PluginError where it is absent, is no Python file or does not load, or where its SHA-256 is another one.
    """
    if not is_file(path):
        raise PluginError(f"The plugin '{label}' names {path}, which is not there.")
    spec = importlib.util.spec_from_file_location(f"emotiwave_local_{label}", path)
    if spec is None or spec.loader is None:
        raise PluginError(f"The plugin '{label}' names {path}, which is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and annotations look their module up
    try:
        with loading(f"the plugin '{label}' ({path})", spec.name):
            # The path is that of `__file__`, by which errors are told.
            TrustedSource(spec.name, path.absolute(), sha256).exec_module(module)
    except BaseException as error:
        sys.modules.pop(spec.name, None)
        if asked_to_end(error):
            raise
        cure = IN_A_PACKAGE if "relative import" in str(error) and isinstance(error, ImportError) else ""
        raise PluginError(f"{path} does not load: {in_words(error)}.{cure}") from error
    return module
