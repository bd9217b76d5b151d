"""Attributes errors: one that is raised inside a plugin's file names the plugin."""

import contextlib
import inspect
import traceback
from collections.abc import Iterator

from emotiwave_core.errors import EmotiwaveError, PluginError, is_out_of_memory
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.parts.guard import asked_to_end, in_words, preserve_global_state


@contextlib.contextmanager
def attribute_errors(model: FusionModel) -> Iterator[None]:
    """Turn what is raised in the file of one of the model's parts into a PluginError that names it.

    So too SystemExit, which would end the program as if all were well. What a part has changed meanwhile of what all
    share is put back.
    """
    try:
        with preserve_global_state(f"One of {_listed(model)}", "while the model is at work", drawing="anything"):
            yield
    except EmotiwaveError:
        raise
    except BaseException as error:
        if asked_to_end(error) or is_out_of_memory(error):
            raise
        files = _files(model)
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
        if not frames:
            raise
        kind, name = files[frames[-1].filename]
        raise PluginError(
            f"The {kind} '{name}' fails in {frames[-1].filename}, line {frames[-1].lineno}: {in_words(error)}. "
            f"`emotiwave plugins check {name}` says more."
        ) from error


def _files(model: FusionModel) -> dict[str, tuple[str, str]]:
    """The file of every part, with its kind and name."""
    files = {}
    for plugin in model.plugins:
        with contextlib.suppress(OSError, TypeError):  # a class that was not written in a file
            files[inspect.getfile(plugin.part)] = (plugin.kind, plugin.name)
    return files


def _listed(model: FusionModel) -> str:
    return ", ".join(dict.fromkeys(f"the {plugin.kind} '{plugin.name}'" for plugin in model.plugins)) or "the parts"
