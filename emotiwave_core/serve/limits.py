"""Limits of the server: how much may come, wait and last. Beyond each of them a request is refused, in one sentence."""

import math
from typing import NoReturn

import attrs

from emotiwave_core.errors import DataError, EmotiwaveError, NotFinite, ResourceError, SettingsError

RETRY_AFTER = 1  # seconds


@attrs.frozen
class Limits:
    """Bounds of what a stranger can make the server hold or do."""

    batch: int = 32  # samples that are computed together
    gather: float = 0.002  # seconds that a sample waits for others
    floats: int = 1 << 25  # of one batch, padding included
    waiting: int = 512  # samples that wait for the model
    samples: int = 256  # of one request
    steps: int = 5_000  # of one modality of one sample
    json_bytes: int = 16 << 20
    held_bytes: int = 128 << 20  # of all JSON that is being received or waits
    upload_bytes: int = 64 << 20
    receiving: int = 8  # uploads at a time
    seconds: float = 30.0  # from the first byte of a request to its answer
    upload_seconds: float = 180.0
    workers: int = 2  # processes for media: so many uploads and sessions at a time
    session_seconds: float = 1800.0
    message_bytes: int = 1 << 20
    idle_seconds: float = 60.0  # of a session in which nothing comes
    session_messages: int = 64  # of one session that wait
    session_bytes: int = 8 << 20
    send_seconds: float = 10.0  # that a client may take for an answer of a session
    connections: int = 512
    grace: float = 30.0  # seconds in which what was accepted is answered when the server is stopped


class Refusal(Exception):  # noqa: N818 -- it is an answer
    """An answer that says no: a status, the sentence, and the word under which it is counted."""

    def __init__(self, status: int, reason: str, sentence: str, *, retry: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.sentence = status, reason, sentence
        self.headers = {"Retry-After": str(RETRY_AFTER)} if retry else {}


def busy(what: str) -> Refusal:
    """The refusal of what would have to wait beyond a bound."""
    return Refusal(429, "busy", f"{what}: ask again in {RETRY_AFTER} s.", retry=True)


def wrong(sentence: str) -> Refusal:
    """The refusal of a request whose content cannot be used."""
    return Refusal(422, "invalid", sentence)


def too_late(seconds: float) -> Refusal:
    """The refusal of what has taken too long."""
    return Refusal(504, "timeout", f"There was no answer within {math.ceil(seconds)} s.")


def too_large(most: int, what: str) -> Refusal:
    """The refusal of a body that is larger than it may be."""
    return Refusal(413, "size", f"{what} may have {most >> 20} MiB, and this has more.")


def refusal_of(error: BaseException) -> Refusal | None:
    """The refusal for an error that its sender can mend; None for an error of the server's own."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NotFinite):
        return wrong("The model's answer is no number: the features are too large for it.")
    if isinstance(error, DataError | SettingsError):
        return wrong(str(error))
    if isinstance(error, ResourceError | MemoryError):
        return Refusal(503, "memory", "There is not the memory for this: send less at a time.", retry=True)
    return None


def raise_for(error: EmotiwaveError | BaseException) -> NoReturn:
    """Raise the refusal for an error, or the error."""
    raise refusal_of(error) or error
