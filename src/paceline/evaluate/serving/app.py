"""An OpenAI-compatible chat endpoint: each adapter is a model, and concurrent requests share one batch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from paceline.data.formats import list_of_turns, read_turns
from paceline.errors import PacelineError, nearest
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Request, Sampling
from paceline.evaluate.serving.body import Body, RequestError, read_body
from paceline.evaluate.serving.engine import Asked, Engine
from paceline.evaluate.serving.guard import CHAT, Guard, Limits, read_raw, refusal
from paceline.runs.files import JsonObject

CHARACTERS_A_TOKEN = 32  # a prompt with more is refused before it is tokenized; text has 3 to 5
LONGEST_ANSWER = 512  # tokens, where a request does not say
GREEDY_BELOW = 1e-6  # a temperature below has the likeliest token in all but name


def make_app(adapter_set: AdapterSet, key: str | None = None, limits: Limits | None = None) -> Starlette:
    """The web application: /v1/models, /v1/chat/completions, /health.

    With a key, all but /health ask for it; without one, only this machine is answered.
    """
    engine, limits = Engine(adapter_set), limits or Limits()
    # one thread: prompts neither hold up the event loop nor take more than a core from the engine
    reader = ThreadPoolExecutor(1)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine.start()
        yield
        reader.shutdown(wait=False, cancel_futures=True)
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
            body, asked = await loop.run_in_executor(reader, _read, raw, adapter_set, loop)
        except RequestError as error:
            return refusal(str(error), error.status, error.param, error.code)
        request.scope["asked"] = asked  # the guard tells the engine when it is over
        engine.ask(asked)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body.model}
        if body.stream:
            wants_usage = bool(body.stream_options and body.stream_options.include_usage)
            return StreamingResponse(_stream(asked, head, wants_usage), media_type="text/event-stream")
        return await _whole(asked, head, request)

    routes = [
        Route("/v1/models", models),
        Route("/health", health),
        Route(CHAT, chat, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_such_route},
        middleware=[Middleware(Guard, key=key, limits=limits)],
    )


async def _no_such_route(request: HTTPRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.detail, error.status_code)


def _read(raw: bytes, adapter_set: AdapterSet, loop: asyncio.AbstractEventLoop) -> tuple[Body, Asked]:
    """A body and the answer that it asks for.

    Raises:
        RequestError: an unknown model, messages that make no prompt, more than the model's context.
    """
    body = read_body(raw)
    if body.model not in adapter_set.adapters:
        close, known = nearest(body.model[:100], adapter_set.adapters), ", ".join(adapter_set.adapters)
        message = f"no model {body.model[:100]!r}{close}; there are {known}"
        raise RequestError(message, "model", "model_not_found", 404)
    most = body.max_completion_tokens or body.max_tokens or LONGEST_ANSWER
    temperature = 1.0 if body.temperature is None else body.temperature
    sampling = Sampling(
        0.0 if temperature < GREEDY_BELOW else temperature,
        1.0 if body.top_p is None else body.top_p,
        most,
        (body.seed or 0) % 2**64,
    )
    thinking = bool(body.chat_template_kwargs and body.chat_template_kwargs.enable_thinking)
    longest = getattr(adapter_set.base.model.config, "max_position_embeddings", None)
    if longest is not None and len(str(body.messages)) > CHARACTERS_A_TOKEN * longest:
        message = f"messages are far longer than the model's {longest} tokens"
        raise RequestError(message, "messages", "context_length_exceeded")
    prompt = _prompt(body.messages, thinking, adapter_set)
    if longest is not None and len(prompt) + most > longest:
        raise RequestError(
            f"{len(prompt)} tokens of prompt and up to {most} of answer "
            f"do not fit into the model's {longest}",
            "messages",
            "context_length_exceeded",
        )
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    request = Request(prompt, adapter_set.adapters[body.model], sampling, (body.model,))
    return body, Asked(request, stops, loop)


def _prompt(turns: list[dict[str, Any]], thinking: bool, adapter_set: AdapterSet) -> list[int]:
    try:
        prompt = adapter_set.prompt(read_turns(list_of_turns(turns, "messages")).messages, thinking)
    except PacelineError as error:
        raise RequestError(str(error), "messages", "invalid_value") from error
    except Exception as error:  # a template's code is the base's: what it cannot write is the request's fault
        kind = type(error).__name__
        raise RequestError(f"messages make no prompt ({kind})", "messages", "invalid_value") from error
    if not prompt:
        raise RequestError("messages make an empty prompt", "messages", "invalid_value")
    return prompt


def _usage(asked: Asked) -> dict[str, int]:
    prompt, answer = len(asked.request.prompt), len(asked.request.tokens)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


async def _said(asked: Asked) -> tuple[str, str]:
    """The whole answer and its finish reason."""
    text, finish = "", None
    while finish is None:
        piece, finish = await asked.pieces.get()
        text += piece
    return text, finish


async def _whole(asked: Asked, head: JsonObject, request: HTTPRequest) -> Response:
    answer = asyncio.create_task(_said(asked))
    hung_up = asyncio.ensure_future(request.receive())  # the body is read, so only that is left to come
    try:
        await asyncio.wait({answer, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            return Response(status_code=499)  # nobody reads it
        text, finish = answer.result()
    finally:
        answer.cancel()
        hung_up.cancel()
    if finish == "error":
        return refusal(text, 500)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
        "logprobs": None,
    }
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": _usage(asked)})


async def _stream(asked: Asked, head: JsonObject, wants_usage: bool) -> AsyncIterator[str]:
    def event(delta: dict[str, str], finish: str | None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

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
