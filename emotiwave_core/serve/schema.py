"""The forms of requests and answers, as the server's OpenAPI description tells them, with examples of this run."""

from typing import Any

from emotiwave_core.serve.describe import Described

Schema = dict[str, Any]
ERROR: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "One sentence."}},
    "required": ["error"],
}
REFUSALS = {
    400: "A form that cannot be read.",
    401: "No token, or a wrong one.",
    403: "A page of another site asks.",
    404: "There is nothing of this kind.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "Another type of content.",
    421: "Another name of the server.",
    422: "The content cannot be used; the sentence says why.",
    429: "Too much is waiting; ask again after Retry-After seconds.",
    500: "The server has failed at this.",
    503: "The server is being stopped, or short of memory.",
    504: "There was no answer in time.",
}
PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
MOMENT: Schema = {"type": "number", "minimum": -86400, "maximum": 86400}
EXAMPLE_WIDTH = 6  # numbers of a row that an example writes out


def responses(
    schema: Schema | None, *statuses: int, example: Any = None, content: str = "application/json"
) -> dict[int | str, Schema]:
    """The `responses` of a route: the answer, and refusals."""
    body = {"schema": schema or {"type": "string"}} | ({} if example is None else {"example": example})
    said: dict[int | str, Schema] = {200: {"description": "The answer.", "content": {content: body}}}
    for status in statuses:
        said[status] = {"description": REFUSALS[status], "content": {"application/json": {"schema": ERROR}}}
    return said


def sample(run: Described) -> Schema:
    """One sample: an array [steps, width] for each modality that it has."""
    rows: Schema = {"type": "array", "items": {"type": "array", "items": MOMENT, "minItems": 2, "maxItems": 2}}
    features = {name: _features(name, width, run) for name, width in run.shape.widths.items()}
    return {
        "type": "object",
        "properties": {
            **features,
            "times": {
                "type": ["object", "null"],
                "description": "{MODALITY: [[start, end], …]} in seconds, as many as it has steps."
                + (" This run needs them." if run.about["needs_times"] else ""),
                "properties": dict.fromkeys(features, rows),
                "additionalProperties": False,
            },
            "words": {
                "type": ["array", "null"],
                "items": rows["items"],
                "description": "[[start, end], …] of the words.",
            },
            "interval": {
                "type": ["array", "null"],
                "description": "[start, end] of the sample, else all of it.",
                "items": MOMENT,
                "minItems": 2,
                "maxItems": 2,
            },
        },
        "additionalProperties": False,
    }


def _features(name: str, width: int, run: Described) -> Schema:
    if name in run.shape.words:
        about = "A list of words; null where it is absent."
        most = run.shape.limits.steps
        return {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": most, "description": about}
    row = {"type": "array", "items": {"type": ["number", "null"]}, "minItems": width, "maxItems": width}
    about = f"[steps, {width}] numbers; null where a number is not known, and for the whole where it is absent."
    return {"type": ["array", "null"], "items": row, "maxItems": run.shape.limits.steps, "description": about}


def example_sample(run: Described) -> Schema:
    """A sample that the run can read, with its first modality alone."""
    first, *others = run.shape.widths.items()
    row = [round(0.1 * (1 + number % EXAMPLE_WIDTH), 1) for number in range(first[1])]
    steps = ["well", "yes"] if first[0] in run.shape.words else [row, row]
    table: Schema = {first[0]: steps, **{name: None for name, _ in others}}
    if run.about["needs_times"]:
        table["times"] = {first[0]: [[0.0, 0.5], [0.5, 1.0]]}
    return table


def prediction(run: Described) -> Schema:
    """The answer about a sample."""
    present = {"type": "array", "items": {"type": "string", "enum": list(run.modalities)}}
    classes = list(run.classes)
    if run.kind == "regression":
        numbers = {"type": "object", "properties": {name: {"type": "number"} for name in classes}, "required": classes}
        return {
            "type": "object",
            "properties": {"numbers": numbers, "present": present},
            "required": ["numbers", "present"],
        }
    probabilities = {"type": "object", "properties": dict.fromkeys(classes, PROBABILITY), "required": classes}
    decided = {"type": "array", "items": {"type": "string", "enum": classes}}
    return {
        "type": "object",
        "properties": {"probabilities": probabilities, "decided": decided, "present": present},
        "required": ["probabilities", "decided", "present"],
    }


def example_prediction(run: Described) -> Schema:
    """An answer as it looks."""
    classes, present = run.classes, list(run.modalities[:1])
    if run.kind == "regression":
        return {"numbers": dict.fromkeys(classes, 0.5), "present": present}
    share = round(1 / len(classes), 3)
    return {"probabilities": dict.fromkeys(classes, share), "decided": [classes[0]], "present": present}


def batch(run: Described) -> Schema:
    """Many samples."""
    items = {"type": "array", "items": sample(run), "minItems": 1, "maxItems": run.shape.limits.samples}
    return {"type": "object", "properties": {"samples": items}, "required": ["samples"], "additionalProperties": False}


def batch_answer(run: Described) -> Schema:
    """The answers about many samples, in their order; in the place of one stands why there is none."""
    answers = {"type": "array", "items": {"anyOf": [prediction(run), ERROR]}}
    failed = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "properties": {"answers": answers, "failed": failed},
        "required": ["answers", "failed"],
    }


def upload() -> Schema:
    """The form of an upload."""
    return {
        "type": "object",
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "A recording: sound or video."},
            "transcript": {
                "type": "string",
                "description": "What is said: SRT, WebVTT, TextGrid, CTM, Whisper's JSON, or plain text.",
            },
            "window": {"type": "number", "minimum": 0.05, "description": "Windows of so many seconds."},
            "hop": {"type": "number", "minimum": 0.05, "description": "Seconds from one window to the next."},
        },
        "required": ["file"],
    }


def recording(run: Described) -> Schema:
    """The answer about a recording. Of a regression `probabilities` is empty, of classes `numbers` is."""
    texts = {"type": "array", "items": {"type": "string"}}
    numbers = {"type": "object", "additionalProperties": {"type": "number"}}
    segment = {
        "type": "object",
        "properties": {
            "start": {"type": "number"},
            "end": {"type": "number"},
            "probabilities": {"type": "object", "additionalProperties": PROBABILITY},
            "numbers": numbers,
            "decided": texts,
            "confidence": {"type": ["number", "null"]},
            "present": texts,
            "shapley": {**numbers, "description": "What each modality adds to the answer about `explained`."},
            "explained": {"type": ["string", "null"]},
            "words": {"type": "string"},
            "alarms": {
                **numbers,
                "description": "Modalities unlike those of the training, and pairs that do not fit each other "
                "(audio+visual): how far, 1 is the threshold.",
            },
        },
        "required": ["start", "end", "decided", "present"],
    }
    return {
        "type": "object",
        "properties": {
            "seconds": {"type": "number"},
            "segments": {"type": "array", "items": segment},
            "missing": {"type": "object", "additionalProperties": {"type": "string"}},
            "problems": texts,
            "words": {"type": ["array", "null"]},
            "evidence": {"type": "boolean"},
        },
        "required": ["seconds", "segments", "missing", "problems", "evidence"],
    }
