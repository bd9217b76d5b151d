"""Trust in local code: the user's word for a file, kept by its path and its SHA-256 in the user's settings.

A folder that one works in may be a stranger's: unpacked, cloned, or of a data set. What its registry.toml names is run
only after `emotiwave plugins trust`, and no longer than the file stays what it was.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from emotiwave_core.errors import SettingsError
from emotiwave_core.io.atomic import out_of_space, sha256_of, write_json
from emotiwave_core.io.untrusted import read_json, why

TRUSTED = "trusted.json"


def settings_folder() -> Path:
    """Folder of what the user has decided: EMOTIWAVE_CONFIG, else the user's settings folder."""
    import platformdirs

    return Path(os.environ.get("EMOTIWAVE_CONFIG") or platformdirs.user_config_dir("emotiwave"))


def trusted_sha256(path: Path) -> str | None:
    """The SHA-256 of a file that has the user's word and is what it was then; None for another."""
    try:
        word = _words().get(str(path.resolve()))
        return word if word is not None and sha256_of(path) == word else None
    except OSError:
        return None


def trust(paths: Iterable[Path]) -> None:
    """Give files the user's word as they are now. SettingsError where one cannot be read."""
    words, place = _words(), settings_folder() / TRUSTED
    for path in paths:
        try:
            words[str(path.resolve())] = sha256_of(path)
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {why(error)}.") from error
    with out_of_space(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, words)


def _words() -> dict[str, str]:
    """{path: SHA-256}. SettingsError where the file is damaged."""
    place = settings_folder() / TRUSTED
    try:
        words = read_json(place)
        if not isinstance(words, dict) or not all(isinstance(value, str) for value in words.values()):
            raise ValueError("it is no table of texts")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{place} cannot be used: {why(error)}. Move it away, and trust your files anew."
        ) from error
    return words
