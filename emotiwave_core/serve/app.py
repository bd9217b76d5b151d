"""The application: every route of the server, and what it answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import attrs
import tomli_w
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.websockets import WebSocket

from emotiwave_core import api
from emotiwave_core.extract.extractors import one_thread
from emotiwave_core.serve import schema
from emotiwave_core.serve.arrays import Sample, sample_of, samples_of
from emotiwave_core.serve.batching import Batcher
from emotiwave_core.serve.describe import Described, card_of, describe
from emotiwave_core.serve.gate import Gate, Guests, Traffic, internal
from emotiwave_core.serve.limits import Limits, Refusal, busy, raise_for, refusal_of, too_late
from emotiwave_core.serve.media import MediaPool
from emotiwave_core.serve.metrics import Metrics
from emotiwave_core.serve.pages import add_pages
from emotiwave_core.serve.session import stream
from emotiwave_core.serve.uploads import MOST_TEXT, folder_of_uploads, on_disk, read_form
from emotiwave_core.version import __version__

T = TypeVar("T")
OF_DATA_SETS = ("id", "interval")  # of a prediction: a sample of arrays has none
JSON = "application/json"
AT_ONCE = 1 << 18  # bytes of a body that is parsed where it came: threads that wait for each other take longer
FORM = "multipart/form-data"
MARKDOWN = "text/markdown"
PAGE = files("emotiwave_core.serve") / "page"
ABOUT = """A trained multimodal emotion recogniser. It answers with whatever modalities are there.

Nothing that is sent is stored or logged.
A recognised emotion is a guess about an expression, not knowledge of a feeling.
"""


@attrs.frozen
class Service:
    """The settings of a server beside its address."""

    guests: Guests
    limits: Limits = attrs.field(factory=Limits)
    asr: str | bool = False  # hear what is said in an upload without a transcript


class Routes:
    """The routes of one run."""

    def __init__(self, run: api.Run, service: Service, traffic: Traffic) -> None:
        self.run, self.service, self.traffic = run, service, traffic
        self.limits, self.metrics = service.limits, traffic.metrics
        self.described: Described = describe(run.folder, self.limits)
        self.run.predict([self._example()])  # the model is loaded, or the server does not start
        self.parsing, self.receiving = CapacityLimiter(2), 0
        self.uploads = Path()  # the folder, once the server has started
        self.batcher: Batcher
        self.pool: MediaPool

    def _example(self) -> dict[str, Any]:
        """A sample that the run can read."""
        return {name: value for name, value in schema.example_sample(self.described).items() if value is not None}

    def _predict(self, samples: list[dict[str, Any]]) -> Sequence[Any]:
        """The predictions of a batch, by one thread: more of them round otherwise, and get in each other's way."""
        with one_thread():
            return self.run.predict(samples)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """All that works beside the routes, while the server is there."""
        with folder_of_uploads() as self.uploads:
            self.batcher = Batcher(self._predict, self.limits, self.metrics)
            self.pool = MediaPool(self._task(), self.limits, self.metrics, self.traffic.say)
            if self.described.reads_recordings:
                self.pool.start()
            try:
                yield
            finally:
                await self.pool.close()
                await to_thread.run_sync(self.batcher.close)

    def _task(self) -> dict[str, Any]:
        """The task of the processes for media. Local plugins of the run go along, in a registry of their own."""
        known = self.run.registry
        local = {label: str(file.resolve()) for label, file in known.files.items() if label not in known.sums}
        registry = self.uploads / "registry.toml"
        if local:
            registry.write_text(tomli_w.dumps({"plugins": local}), encoding="utf-8")
        return {
            "run": str(self.run.folder.resolve()),
            "device": str(self.run.device),
            "registry": str(registry) if local else None,
            "asr": self.service.asr,
            "reads": self.described.reads_recordings,
        }

    async def stream(self, websocket: WebSocket) -> None:
        """Answer a stream."""
        await stream(websocket, self.pool, self.traffic)

    async def predict(self, request: Request) -> Response:
        """Predict one sample of arrays (JSON), or an uploaded recording (multipart form)."""
        kind = _content_type(request)
        if kind == JSON:
            sample = await self._parsed(sample_of, request)
            (answer,) = await self._in_time(self.limits.seconds, _all(self.batcher.submit([sample])))
            return JSONResponse(self._told(answer))
        if kind == FORM:
            return JSONResponse(await self._uploaded(request))
        raise Refusal(415, "type", f"Send {JSON}, or a recording as {FORM}.")

    async def predict_batch(self, request: Request) -> Response:
        """Predict many samples of arrays. In the place of one that cannot be used stands why."""
        if _content_type(request) != JSON:
            raise Refusal(415, "type", f"Send {JSON}.")
        read = await self._parsed(samples_of, request)
        waiting = iter(self.batcher.submit([each for each in read if isinstance(each, Sample)]))
        pending = [next(waiting) if isinstance(each, Sample) else _failed(each) for each in read]
        answers = [self._told(each) for each in await self._in_time(self.limits.seconds, _all(pending))]
        return JSONResponse({"answers": answers, "failed": sum("error" in answer for answer in answers)})

    async def model(self, request: Request) -> Response:
        """Say what the run is: what it reads and says, and how well, measured on what. As text/markdown: its card."""
        if MARKDOWN in request.headers.get("accept", ""):
            card = card_of(self.run.folder)
            if card is None:
                raise Refusal(404, "no card", "This run has no model card.")
            return PlainTextResponse(card, media_type=MARKDOWN)
        limits = {name: getattr(self.limits, name) for name in ("samples", "steps", "json_bytes", "upload_bytes")}
        return JSONResponse({**self.described.about, "limits": limits})

    async def health(self) -> Response:
        """Say that the server answers: 200, or 503 while it is being stopped."""
        state = "draining" if self.traffic.is_draining else "ok" if self.batcher.is_alive else "failed"
        return JSONResponse({"status": state, "emotiwave": __version__}, 200 if state == "ok" else 503)

    async def figures(self) -> Response:
        """Tell the figures of the server to Prometheus."""
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def _parsed(self, parse: Callable[..., T], request: Request) -> T:
        """The body, received in time and parsed beside the other requests."""
        chunks = []
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for chunk in request.stream():
                    chunks.append(chunk)
        except TimeoutError:
            raise Refusal(408, "slow", f"The body did not come within {self.limits.seconds:.0f} s.") from None
        body = b"".join(chunks)
        if len(body) <= AT_ONCE:
            return parse(body, self.described.shape)
        return await to_thread.run_sync(parse, body, self.described.shape, limiter=self.parsing)

    async def _uploaded(self, request: Request) -> dict[str, Any]:
        if not self.described.reads_recordings:
            raise Refusal(
                415, "type", f"Send arrays as {JSON}: the run's features were not made by extractors that it knows."
            )
        if self.receiving >= self.limits.receiving:
            raise busy(f"{self.receiving} uploads are being received already")
        self.receiving += 1
        try:
            return await self._in_time(self.limits.upload_seconds, self._answered(request))
        finally:
            self.receiving -= 1

    async def _answered(self, request: Request) -> dict[str, Any]:
        async with request.form(max_files=2, max_fields=4, max_part_size=MOST_TEXT) as form:
            upload = read_form(form)
            async with self.pool.worker() as worker:
                with contextlib.ExitStack() as stack:
                    asked = await to_thread.run_sync(stack.enter_context, on_disk(upload, self.uploads))
                    answer: dict[str, Any] = (await worker.ask(asked))["answer"]
        return {name: value for name, value in answer.items() if name != "file"}

    async def _in_time(self, seconds: float, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            raise too_late(seconds) from None

    def _told(self, answer: Any) -> dict[str, Any]:
        """An answer as JSON has it; of an error its sentence, or where it stands alone the refusal."""
        if not isinstance(answer, BaseException):
            return {name: value for name, value in answer.to_dict().items() if name not in OF_DATA_SETS}
        if (refusal := refusal_of(answer)) is None:
            self.traffic.say(f"Internal error: {internal(answer)}")
            return {"error": "The server has failed at this; its log says why."}
        return {"error": refusal.sentence}


async def _all(futures: "list[asyncio.Future[Any]]") -> list[Any]:
    """All answers; of one alone its error is raised, of several each stands in its place."""
    if len(futures) == 1:
        try:
            return [await futures[0]]
        except Exception as error:
            raise_for(error)
    return await asyncio.gather(*futures, return_exceptions=True)


def _failed(error: Exception) -> "asyncio.Future[Any]":
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _in_words(_: Request, error: Exception) -> Response:
    """The answer to an address or a method that is not there."""
    assert isinstance(error, HTTPException)
    sentence = {404: "There is nothing at this address.", 405: "This address has another method."}
    text = sentence.get(error.status_code, str(error.detail))
    return JSONResponse({"error": text}, error.status_code, headers=error.headers)


def create_app(run: api.Run, service: Service, traffic: Traffic | None = None) -> FastAPI:
    """The application of a run, for any ASGI server. Errors as of a first prediction."""
    metrics = Metrics() if traffic is None else traffic.metrics
    traffic = traffic or Traffic(service.limits, metrics, print)
    routes = Routes(run, service, traffic)
    app = FastAPI(
        title="Emotiwave",
        version=__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=routes.lifespan,
    )
    app.state.routes = routes
    app.add_exception_handler(HTTPException, _in_words)
    app.add_middleware(Gate, guests=service.guests, traffic=traffic)
    _add_routes(app, routes)
    add_pages(app, routes.described)
    return app


def _add_routes(app: FastAPI, routes: Routes) -> None:
    run, sample = routes.described, schema.sample(routes.described)
    forms: dict[str, Any] = {JSON: {"schema": sample, "example": schema.example_sample(run)}}
    answer = schema.prediction(run)
    if run.reads_recordings:
        forms[FORM] = {"schema": schema.upload()}
        answer = {"anyOf": [answer, schema.recording(run)]}
    faults = (400, 401, 403, 408, 413, 415, 421, 422, 429, 500, 503, 504)
    app.post(
        "/predict",
        responses=schema.responses(answer, *faults, example=schema.example_prediction(run)),
        openapi_extra={"requestBody": {"required": True, "content": forms}},
    )(routes.predict)
    many = {"schema": schema.batch(run), "example": {"samples": [schema.example_sample(run)] * 2}}
    app.post(
        "/predict/batch",
        responses=schema.responses(schema.batch_answer(run), *faults),
        openapi_extra={"requestBody": {"required": True, "content": {JSON: many}}},
    )(routes.predict_batch)
    app.add_api_websocket_route("/stream", routes.stream)
    app.get("/model", responses=schema.responses({"type": "object"}, 401, 404, 421, 503))(routes.model)
    app.get("/health", responses=schema.responses({"type": "object"}, 421, 503))(routes.health)
    app.get("/metrics", responses=schema.responses(None, 401, 421, content="text/plain"))(routes.figures)
