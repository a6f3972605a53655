"""An OpenAI-compatible chat endpoint: each adapter is a model, and concurrent requests share one batch."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.serving.body import RequestError, read_body
from paceline.evaluate.serving.engine import Engine
from paceline.evaluate.serving.grammar import Grammars
from paceline.evaluate.serving.guard import CHAT, Guard, Limits, UnderWay, read_raw, refusal
from paceline.evaluate.serving.reader import Reader
from paceline.evaluate.serving.reply import Reply


def make_app(adapter_set: AdapterSet, key: str | None = None, limits: Limits | None = None) -> Starlette:
    """The web application: /v1/models, /v1/chat/completions, /health.

    With a key, all but /health ask for it; without one, only this machine is answered. Its `state.under_way`
    ends what is under way.
    """
    engine, limits = Engine(adapter_set), limits or Limits()
    reader, grammars = Reader(adapter_set), Grammars(adapter_set)
    # one thread: prompts neither hold up the event loop nor take more than a core from the engine
    executor = ThreadPoolExecutor(1)
    schema_executor = ThreadPoolExecutor(1)  # a schema that takes long holds up schemas only

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine.start()
        yield
        for pool in (executor, schema_executor):
            pool.shutdown(wait=False, cancel_futures=True)
        engine.stop()

    async def models(request: HTTPRequest) -> Response:
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "paceline"}
            for name in adapter_set.adapters
        ]
        return JSONResponse({"object": "list", "data": listed})

    async def health(request: HTTPRequest) -> Response:
        return JSONResponse({"status": "ok"})

    async def chat(request: HTTPRequest) -> Response:
        try:
            raw = await read_raw(request, limits)
            loop = asyncio.get_running_loop()
            body = await loop.run_in_executor(executor, read_body, raw)
            matcher = None
            if body.json_schema is not None:
                matcher = await loop.run_in_executor(schema_executor, grammars.matcher, body.json_schema)
            asked = await loop.run_in_executor(executor, reader.read, body, matcher, loop)
            request.scope["guard"].take_places(request.scope, len(asked) - 1)
        except RequestError as error:
            return refusal(str(error), error.status, error.param, error.code)
        request.scope["asked"] = asked  # the guard tells the engine when it is over
        engine.ask(asked)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body.model}
        reply = Reply(asked, head, reader.token_bytes if body.logprobs else None)
        if body.stream:
            wants_usage = bool(body.stream_options and body.stream_options.include_usage)
            return StreamingResponse(reply.stream(wants_usage), media_type="text/event-stream")
        return await reply.whole(request)

    routes = [
        Route("/v1/models", models),
        Route("/health", health),
        Route(CHAT, chat, methods=["POST"]),
    ]
    under_way = UnderWay()
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_such_route},
        middleware=[Middleware(Guard, key=key, limits=limits, under_way=under_way)],
    )
    app.state.under_way = under_way
    return app


async def _no_such_route(request: HTTPRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.detail, error.status_code)
