"""An OpenAI-compatible chat endpoint: each adapter is a model, and concurrent requests share one batch."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from paceline.data.formats import read_turns
from paceline.errors import EvaluationError, PacelineError, nearest
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Request, Sampling
from paceline.evaluate.serving.engine import Asked, Engine
from paceline.evaluate.serving.request import BadRequestError, ChatRequest, read_request
from paceline.runs.files import JsonObject

# Bytes of a body, seconds that it may take to come, answers under way at once.
MAX_BODY, BODY_SECONDS, MAX_UNDER_WAY = 8 * 2**20, 30, 256
# Tokens of prompt and answer where a model's configuration does not say how many it takes.
MAX_PROMPT = 2**17


class _App:
    """What answers requests: reads them off the event loop, one at a time, and hands them to the engine."""

    def __init__(self, adapter_set: AdapterSet) -> None:
        self.adapter_set = adapter_set
        self.engine = Engine(adapter_set)
        self.under_way = 0
        self._reader = ThreadPoolExecutor(1, "tokenize")

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.engine.start()
        yield
        self.engine.stop()
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def models(self, request: HTTPRequest) -> Response:
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "paceline"}
            for name in self.adapter_set.adapters
        ]
        return JSONResponse({"object": "list", "data": listed})

    async def health(self, request: HTTPRequest) -> Response:
        return JSONResponse({"status": "ok"})

    async def chat(self, request: HTTPRequest) -> Response:
        if self.under_way >= MAX_UNDER_WAY:
            return _refused("too many requests are under way; try again", 429, headers={"Retry-After": "1"})
        self.under_way += 1
        try:
            body = await asyncio.wait_for(_body(request), BODY_SECONDS)
            wanted = read_request(body)
            loop = asyncio.get_running_loop()
            asked = await loop.run_in_executor(self._reader, _read, wanted, self.adapter_set, loop)
        except (PacelineError, TimeoutError) as error:
            self.under_way -= 1
            return _refusal_of(error)
        except BaseException:
            self.under_way -= 1
            raise
        self.engine.ask(asked)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": wanted.model}
        if wanted.stream:
            wants_usage = bool(wanted.stream_options and wanted.stream_options.include_usage)
            events = self._counted(_stream(asked, head, wants_usage))
            return StreamingResponse(events, media_type="text/event-stream")
        try:
            return await _whole(asked, head, request)
        finally:
            self.under_way -= 1

    async def _counted(self, events: AsyncIterator[str]) -> AsyncIterator[str]:
        try:
            async for event in events:
                yield event
        finally:
            self.under_way -= 1


def make_app(
    adapter_set: AdapterSet, api_key: str | None = None, hosts: Sequence[str] | None = None
) -> Starlette:
    """The web application: /v1/models, /v1/chat/completions, /health.

    Args:
        api_key: what every request but /health has to bring as `Authorization: Bearer KEY`.
        hosts: names by which the server may be called; others are refused, so that a web page cannot reach it
            by a name of its own (DNS rebinding).
    """
    app = _App(adapter_set)
    routes = [
        Route("/v1/models", app.models),
        Route("/health", app.health),
        Route("/v1/chat/completions", app.chat, methods=["POST"]),
    ]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))] if hosts else []
    if api_key is not None:
        middleware.append(Middleware(_KeyCheck, key=api_key))
    return Starlette(routes=routes, lifespan=app.lifespan, middleware=middleware)


class _KeyCheck:
    """Lets only requests with the key pass."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.expected = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self.expected):
                await _refused("no valid key in the header Authorization", 401)(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def _body(request: HTTPRequest) -> bytes:
    """The body, of which no more is read than is allowed.

    Raises:
        _TooLargeError: it is longer.
    """
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY:
        raise _TooLargeError
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise _TooLargeError
    return bytes(body)


class _TooLargeError(EvaluationError):
    def __init__(self) -> None:
        super().__init__(f"the body is longer than {MAX_BODY:,} bytes")


def _refusal_of(error: Exception) -> Response:
    if isinstance(error, TimeoutError):
        return _refused(f"the body did not come within {BODY_SECONDS} seconds", 408)
    if isinstance(error, _TooLargeError):
        return _refused(str(error), 413)
    param = getattr(error, "param", None)
    return _refused(str(error), 404 if isinstance(error, _NoModelError) else 400, param)


def _refused(
    message: str, status: int, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": None}
    return JSONResponse({"error": error}, status, headers)


class _NoModelError(BadRequestError):
    pass


def _read(wanted: ChatRequest, adapter_set: AdapterSet, loop: asyncio.AbstractEventLoop) -> Asked:
    """What a request asks the engine for.

    Raises:
        PacelineError: an unknown model, turns that cannot be read or rendered, a prompt that is too long.
    """
    name = wanted.model
    if name not in adapter_set.adapters:
        close, known = nearest(name, adapter_set.adapters), ", ".join(adapter_set.adapters)
        raise _NoModelError(f"no model {name!r}{close}; there are {known}", "model")
    config = adapter_set.base.model.config
    longest = getattr(config, "max_position_embeddings", None) or MAX_PROMPT
    sampling = Sampling(
        1.0 if wanted.temperature is None else wanted.temperature,
        1.0 if wanted.top_p is None else wanted.top_p,
        wanted.longest,
        wanted.seed or 0,
    )
    try:
        prompt = adapter_set.prompt(read_turns(wanted.messages).messages, wanted.thinking)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise BadRequestError(f"messages: cannot be read ({type(error).__name__})", "messages") from error
    if len(prompt) + sampling.max_new_tokens > longest:
        raise BadRequestError(
            f"{len(prompt)} tokens of prompt and up to {sampling.max_new_tokens} of answer do not fit into "
            f"the model's {longest}",
            "messages",
        )
    request = Request(prompt, adapter_set.adapters[name], sampling, (name,))
    return Asked(request, wanted.stops, loop)


def _usage(asked: Asked) -> dict[str, int]:
    prompt, answer = len(asked.request.prompt), len(asked.request.tokens)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


async def _whole(asked: Asked, head: JsonObject, request: HTTPRequest) -> Response:
    text, finish = "", None
    watching = asyncio.create_task(_let_go_when_gone(asked, request))
    try:
        while finish is None:
            piece, finish = await asked.pieces.get()
            text += piece
    finally:
        watching.cancel()
        asked.gone = True
    if finish == "error":
        return _refused(text, 500)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
        "logprobs": None,
    }
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": _usage(asked)})


async def _let_go_when_gone(asked: Asked, request: HTTPRequest) -> None:
    """Lets the engine drop an answer that nobody waits for."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.2)
    asked.gone = True


async def _stream(asked: Asked, head: JsonObject, wants_usage: bool) -> AsyncIterator[str]:
    def event(delta: dict[str, str], finish: str | None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

    try:
        yield event({"role": "assistant", "content": ""}, None)
        finish = None
        while finish is None:
            piece, finish = await asked.pieces.get()
            if finish == "error":
                yield f"data: {json.dumps({'error': {'message': piece, 'type': 'server_error'}})}\n\n"
                return
            if piece:
                yield event({"content": piece}, None)
        yield event({}, finish)
        if wants_usage:
            last = {**head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(asked)}
            yield f"data: {json.dumps(last)}\n\n"
        yield "data: [DONE]\n\n"
    finally:
        asked.gone = True  # a reader that hung up; the engine lets the answer go
