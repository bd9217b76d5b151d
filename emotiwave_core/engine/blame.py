"""Whose fault it is: an error inside a plugin's file names the plugin, not us."""

import contextlib
import inspect
import traceback
from collections.abc import Iterator

from emotiwave_core.errors import EmotiwaveError, PluginError
from emotiwave_core.recipe import Recipe
from emotiwave_core.registry import Registry


@contextlib.contextmanager
def blamed(recipe: Recipe, registry: Registry) -> Iterator[None]:
    """Turn an exception that passes through the file of one of the recipe's parts into a PluginError that names it."""
    try:
        yield
    except (EmotiwaveError, MemoryError):
        raise
    except Exception as error:
        parts = [("encoder", part.name) for part in recipe.encoder.values()]
        parts += [("fusion", recipe.fusion.name), *registry.names_in("dropout", recipe.dropout)]
        files = {inspect.getfile(registry.part(kind, name)): (kind, name) for kind, name in parts}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
        if not frames or type(error).__name__ == "OutOfMemoryError":
            raise
        kind, name = files[frames[-1].filename]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(
            f"The {kind} '{name}' fails in {frames[-1].filename}, line {frames[-1].lineno}: {what}. "
            f"`emotiwave plugins check {name}` says more."
        ) from error
