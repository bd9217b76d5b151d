"""`model-card.md` of a run: a page of Markdown with Hugging Face's front matter, made of the run's files alone.

Names come from data and may be hostile: in the text each character that Markdown or HTML could obey is escaped, and in
the front matter they are quoted as YAML has it. No path of a machine and no time is in it: equal runs have equal cards.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from keyword import iskeyword
from pathlib import Path
from typing import Any

from emotiwave_core.io.atomic import write_text
from emotiwave_core.modalities import name_of
from emotiwave_core.report.model_words import model_in_words, seed_of
from emotiwave_core.report.numbers import count, interval, score, series, signed
from emotiwave_core.report.verdict import verdict
from emotiwave_core.runs.contents import RunContents
from emotiwave_core.runs.schema import name
from emotiwave_core.runs.scores import ConfigurationScores, Scores

CARD = "model-card.md"
RARE = 10  # samples of a class in the test fold, below which its score is mostly luck
SHOWN = 12  # notes
_OBEYED = re.compile(r"([\\`*_{}\[\]<>|#~&!@$]|:(?=//)|(?<=www)\.)", re.IGNORECASE)  # by Markdown, HTML, links
_UNQUOTABLE = re.compile("[\u2028\u2029\ufeff\ufffe\uffff]")  # which YAML reads as the end of a line, or refuses

USE = """\
A recognised emotion is a guess about an expression, not knowledge of what a person feels. The model says which label
people gave to expressions like this one in its training data.

- Not for decisions on a person: medical, legal, of police or border, of credit, insurance, hiring or grading.
- Not at work and not in education: the EU's AI Act (Regulation (EU) 2024/1689), Article 5(1)(f), forbids to infer the
  emotions of people there, except for medical or safety reasons. Elsewhere, people who are exposed to such a system
  must be told (Article 50(3)).
- Not for people, languages, cultures or recordings other than those it was tested on, without a test of one's own.\
"""


def write_card(run: Path, contents: RunContents) -> None:
    """Write the card of a run into its folder. ResourceError when it cannot be written."""
    write_text(run / CARD, render_card(contents))


def render_card(run: RunContents) -> str:
    """The card as text."""
    sections = {
        "Load it": _loading(run),
        "Trained on": _training(run),
        "Scores": _scores(run.scores),
        "Without a modality": _without(run.scores),
        "Calibration": _calibration(run.scores),
        "Not for": [USE],
        "Limits": _limits(run),
    }
    lines = [front_matter(run), f"# {_title(run)}", *_summary(run)]
    for title, content in sections.items():
        if content:
            lines += [f"## {title}", *content]
    return "\n\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Text of data in Markdown: what it looks like is what it is."""
    return _OBEYED.sub(r"\\\1", name(text))


def quoted(text: str) -> str:
    """Text of data in YAML, in double quotes."""
    text = json.dumps(name(text), ensure_ascii=False)
    return _UNQUOTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def front_matter(run: RunContents) -> str:
    """The metadata that Hugging Face reads: a licence nobody has chosen, tags, and the scores as a model-index."""
    scores, kind = run.scores, run.scores.judged_by
    metric = "ccc" if kind.key == "ccc" else "f1"
    values = [(f"{kind.title}, {configuration}", scored.score) for configuration, scored in _rows(scores)]
    values.append((f"{kind.title}, mean of all configurations", float(scores.mean)))
    task = "regression" if kind.key == "ccc" else "classification"
    tags = ["emotiwave", "emotion-recognition", "multimodal", "missing-modality", *scores.modalities]
    lines = [
        "---",
        "license: unknown",
        "library_name: emotiwave",
        "pipeline_tag: other",
        "tags:",
        *(f"- {quoted(tag)}" for tag in dict.fromkeys([*tags, *(["synthetic-data"] if scores.synthetic else [])])),
        "metrics:",
        f"- {metric}",
        "model-index:",
        f"- name: {quoted(_name(run))}",
        "  results:",
        "  - task:",
        "      type: other",
        f"      name: {quoted(f'Multimodal emotion {task}')}",
        "    dataset:",
        f"      type: {quoted(_identifier(scores.dataset))}",
        f"      name: {quoted(scores.dataset)}",
        f"      split: {quoted(scores.fold)}",
        "    metrics:",
    ]
    for title, value in values:
        lines += [f"    - type: {metric}", f"      name: {quoted(title)}", f"      value: {value:.4f}"]
    return "\n".join([*lines, "---"])


def _identifier(text: str) -> str:
    """A name as an identifier: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data"


def _name(run: RunContents) -> str:
    return str(run.model.recipe.get("name") or "run")


def _title(run: RunContents) -> str:
    return f"{plain(_name(run))} on {plain(run.scores.dataset)}"


def _rows(scores: Scores) -> Iterable[tuple[str, ConfigurationScores]]:
    return scores.configurations.items()


def _summary(run: RunContents) -> Iterator[str]:
    scores = run.scores
    if scores.synthetic:
        yield "**Synthetic data: these scores say nothing about people.**"
    task = {
        "single": "one of",
        "multi": "which of, if any,",
        "regression": "numbers for",
    }[scores.objective]
    yield (
        f"{model_in_words(run.model, plain)}. It answers {task} {plain(series(scores.classes))} from "
        f"{plain(series(scores.modalities))}, with any of them missing."
    )
    yield plain(verdict(scores))


def _loading(run: RunContents) -> list[str]:
    streams = list(run.model.features)
    words = [stream for stream, about in run.data.modalities.items() if about.words is not None]
    values = {stream: "None" if place else "x" for place, stream in enumerate(streams)}
    if all(stream.isidentifier() and not iskeyword(stream) for stream in streams):
        given = ", ".join(f"{stream}={value}" for stream, value in values.items())
    else:
        given = f"**{{{', '.join(f'{json.dumps(stream)}: {value}' for stream, value in values.items())}}}"
    x = "a list of words" if streams[0] in words else f"[steps, {run.model.features[streams[0]]}]"
    return [
        "```python\n"
        "import emotiwave as ew\n"
        'run = ew.open_run("this-folder")  # its plugins must be installed\n'
        f"print(run.predict({given}))  # x: {x}; None is missing\n"
        "```",
        "Features must come from the same extractor and have the same columns as those of the training.",
    ]


def _training(run: RunContents) -> list[str]:
    data, recipe = run.data, run.model.recipe
    groups = "not known, so each video is its own" if data.groups is None else count(data.groups)
    seed = seed_of(recipe)
    facts = [
        f"Data set: {plain(data.dataset)}, {count(data.samples)} samples (a {plain(data.unit)} each) of "
        f"{count(data.videos)} videos; groups that stay in one fold (speakers, actors): {groups}.",
        f"Labels: {plain(', '.join(data.targets))}; {plain(data.label_kind)}, by {plain(data.label_source)}.",
        f"Folds: {plain(_without_folder(data.fold_source, run))}.",
        f"{plain(_parts(recipe))}; one seed{'' if seed is None else f' ({seed})'}, so how far another one moves the "
        "scores is not known here.",
        f"The epoch was chosen on the validation fold (`training.select`): epoch {run.model.best.epoch}.",
    ]
    if run.model.refit is not None:
        facts.append(
            f"Then the model was trained again from the start, for as many epochs, on the {count(run.model.refit)} "
            "samples of the training and validation folds (`training.refit`): thresholds and calibration are those of "
            "the first training."
        )
    features = [
        (
            plain(stream),
            count(about.features) if about.words is None else "words",
            plain(_maker(about.extractor)),
            f"{count(data.samples - about.missing)} of {count(data.samples)}",
        )
        for stream, about in data.modalities.items()
    ]
    return [
        _listed(facts),
        _table(("features", "width", "extractor", "samples that have it"), features),
        *_folds(run),
    ]


def _without_folder(text: str, run: RunContents) -> str:
    """A text without the place of the data on the machine that trained."""
    return text.replace(f"{run.data.folder}/", "")


def _parts(recipe: dict[str, Any]) -> str:
    """The dropout policy and the recipe, by name."""
    dropout = recipe.get("dropout")
    policy = dropout.get("name") if isinstance(dropout, dict) else dropout
    return f"Recipe {recipe.get('name')}, dropout policy {policy}"


def _maker(extractor: dict[str, Any] | None) -> str:
    """The extractor of features: its name, and its model where it tells one."""
    if not extractor:
        return "not told by the data"
    return " ".join(str(extractor[key]) for key in ("name", "model") if isinstance(extractor.get(key), str)) or "told"


def _folds(run: RunContents) -> list[str]:
    folds = run.data.folds or {}
    rows: list[tuple[str, ...]] = []
    for fold, facts in folds.items():
        classes = getattr(facts, "classes", None) or {}
        counts = [count(classes.get(each, 0)) for each in run.scores.classes] if classes else []
        rows.append((plain(fold), count(facts.used), count(facts.videos), *counts))
    if not rows:
        return []
    columns = run.scores.classes if len(rows[0]) > 3 else []
    return [_table(("fold", "samples that are used", "videos", *map(plain, columns)), rows)]


def _scores(scores: Scores) -> list[str]:
    kind, drawn = scores.judged_by, scores.interval
    rows = [
        (
            plain(configuration),
            score(scored.score),
            interval(scored.interval),
            signed(-scored.absolute_drop) if configuration != scores.complete.configuration else "",
        )
        for configuration, scored in _rows(scores)
    ]
    rows += [("mean of all", score(scores.mean), interval(scores.mean_interval), "")]
    rows += [
        (f"guess: {plain(guess.name)}", score(guess.metrics.get(kind.key)), "", "") for guess in scores.constant.named
    ]
    level = f"{drawn.level:.0%} interval"
    how = (
        f"{kind.title} on the {count(scores.samples)} samples of the fold {plain(scores.fold)}. "
        f"The guesses do without the input. Intervals: {count(drawn.resamples)} bootstrap resamples of "
        f"{count(drawn.videos)} {plain(drawn.unit)}s, of one training (seeds: 1)."
    )
    return [how, _table(("configuration", kind.title, level, "change"), rows), *_classes(scores)]


def _classes(scores: Scores) -> list[str]:
    complete = scores.configurations[scores.complete.configuration]
    if complete.targets:
        numbers = [
            (plain(target), score(each.metrics.get("ccc")), interval(each.ccc_interval), score(each.metrics.get("mae")))
            for target, each in complete.targets.items()
        ]
        return ["With all modalities:", _table(("target", "CCC", "interval", "mean absolute error"), numbers)]
    rows = [
        (
            plain(each),
            score(scored.f1),
            interval(scored.f1_interval),
            score(scored.precision),
            score(scored.recall),
            count(scored.support),
        )
        for each, scored in complete.classes.items()
    ]
    return ["With all modalities:", _table(("class", "F1", "interval", "precision", "recall", "samples"), rows)]


def _without(scores: Scores) -> list[str]:
    if len(scores.modalities) < 2:
        return [f"It has one modality, {plain(scores.modalities[0])}: without it there is no answer."]
    lines = []
    for modality in scores.modalities:
        rest = name_of(tuple(other for other in scores.modalities if other != modality))
        if rest in scores.configurations:
            scored = scores.configurations[rest]
            change = f"{signed(-scored.absolute_drop)}, interval {interval(scored.interval)}"
            lines.append(f"Without {plain(modality)}: {score(scored.score)} ({change}).")
    worst = f"Worst configuration: {plain(scores.worst.configuration)}, {score(scores.worst.score)}."
    collapsed = [
        f"With {plain(configuration)} alone there is one answer only: {plain(scored.collapsed)}"
        for configuration, scored in _rows(scores)
        if scored.collapsed
    ]
    return [_listed([*lines, worst, *collapsed])]


def _calibration(scores: Scores) -> list[str]:
    calibration = scores.configurations[scores.complete.configuration].calibration
    if calibration is None:
        return []
    return [f"Expected calibration error with all modalities: {score(calibration.ece)} ({len(calibration.bins)} bins)."]


def _limits(run: RunContents) -> list[str]:
    scores, data = run.scores, run.data
    complete = scores.configurations[scores.complete.configuration]
    rare = [f"{plain(each)} ({scored.support})" for each, scored in complete.classes.items() if scored.support < RARE]
    lines = [
        f"The test fold has {count(scores.samples)} samples of {count(scores.interval.videos)} "
        f"{plain(scores.interval.unit)}s: the intervals say how far luck moves a score."
    ]
    if rare:
        lines.append(f"Fewer than {RARE} test samples, too few to score: {', '.join(rare)}.")
    if data.groups is None:
        lines.append("Speakers are not known: one may be in the training and in the test fold.")
    told = list(dict.fromkeys([*data.warnings, *scores.notes, *data.notes]))
    lines += [plain(_without_folder(note, run)) for note in told[:SHOWN]]
    if len(told) > SHOWN:
        lines.append(f"{len(told) - SHOWN} more notes are in data.json and scores.json.")
    return [_listed(lines)]


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
