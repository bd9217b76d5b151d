"""The pages of a server: / for people who have a clip or a camera, /docs for those who write programs.

They load nothing from elsewhere, and their policy lets no script run but the server's own.
"""

import json
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from emotiwave_core.report import page as report
from emotiwave_core.serve.describe import Described
from emotiwave_core.version import __version__

LONGEST = 600  # characters of an example
STYLES = ("style.css.j2", "charts.css.j2")  # of a report, whose looks the pages share


def add_pages(app: FastAPI, run: Described) -> None:
    """Add the pages of a run to its application, whose routes are all there."""
    templates = Environment(
        loader=PackageLoader("emotiwave_core.serve", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    page = templates.get_template("index.html.j2").render(**_of_run(run))
    docs = templates.get_template("docs.html.j2").render(**_of_routes(app.openapi()))
    style = "\n".join(report.environment().get_template(name).render() for name in STYLES)
    app.add_api_route("/", lambda: HTMLResponse(page), include_in_schema=False)
    app.add_api_route("/docs", lambda: HTMLResponse(docs), include_in_schema=False)
    app.add_api_route("/static/report.css", lambda: Response(style, media_type="text/css"), include_in_schema=False)
    app.mount("/static", StaticFiles(directory=str(files("emotiwave_core.serve") / "page" / "static")))


def _of_run(run: Described) -> dict[str, Any]:
    """The facts that the page states."""
    scores, trained = run.about["scores"], run.about["trained_on"]
    sentence = None
    if scores is not None:
        on = scores["measured_on"]
        metric = "macro-F1" if scores["metric"] == "macro_f1" else "concordance"
        whole = list(scores["configurations"].values())[-1]["score"]
        sentence = (
            f"Measured: {metric} {whole:.2f} with everything there, {scores['mean']:.2f} as the mean over what may be "
            f"missing, on {on['samples']} samples of {on['dataset']} that it was not trained on; the best guess that "
            f"looks at nothing reaches {scores['best_guess_without_input']:.2f}."
        )
    return {
        "version": __version__,
        "modalities": _series(list(run.modalities)),
        "classes": _series(list(run.classes)),
        "scores": sentence,
        "synthetic": bool(trained["synthetic"]),
        "reads_recordings": run.reads_recordings,
    }


def _series(names: list[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def _of_routes(description: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI description as its page states it, with a line of curl for each route."""
    routes = [
        _route(path, method, route)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    ]
    return {"routes": routes, **description["info"]}


def _route(path: str, method: str, route: dict[str, Any]) -> dict[str, Any]:
    contents = route.get("requestBody", {}).get("content", {})
    answer: dict[str, Any] = next(iter(route["responses"]["200"].get("content", {}).values()), {})
    return {
        "path": path,
        "method": method.upper(),
        "about": route["description"],
        "commands": [_command(path, kind, form) for kind, form in contents.items()] or [f"curl http://HOST:PORT{path}"],
        "answer": _written(answer["example"]) if "example" in answer else None,
        "statuses": {code: said["description"] for code, said in route["responses"].items() if code != "200"},
    }


def _command(path: str, kind: str, form: dict[str, Any]) -> str:
    if "example" in form:
        return f"curl http://HOST:PORT{path} -H 'Content-Type: {kind}' -d '{_written(form['example'])}'"
    return f"curl http://HOST:PORT{path} -F file=@clip.mp4 -F transcript=@clip.srt -F window=4 -F hop=1"


def _written(example: Any) -> str:
    text = json.dumps(example)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
