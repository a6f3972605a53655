"""An OpenAI-compatible chat endpoint: each adapter is a model, and concurrent requests share one batch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from paceline.data.formats import Messages, list_of_turns, read_turns
from paceline.errors import EvaluationError, PacelineError, nearest
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Request, Sampling
from paceline.runs.files import JsonObject


@dataclass(eq=False)
class _Asked:
    """One answer under way. Text comes through `pieces`, at their end a finish reason or an error."""

    request: Request
    stops: list[str]
    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[tuple[str, str | None]] = field(default_factory=asyncio.Queue)
    said: str = ""
    gone: bool = False

    def put(self, text: str, finish: str | None) -> None:
        self.loop.call_soon_threadsafe(self.pieces.put_nowait, (text, finish))


class Engine:
    """A thread that owns the model: requests enter between two forwards, each of which advances all."""

    def __init__(self, adapter_set: AdapterSet) -> None:
        self.adapter_set = adapter_set
        self._arrived: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._arrived.put(None)
        self._thread.join()

    def ask(self, asked: _Asked) -> None:
        self._arrived.put(asked)

    def _run(self) -> None:
        generator = self.adapter_set.generator()
        asking: dict[int, _Asked] = {}
        while True:
            while not asking or not self._arrived.empty():
                asked = self._arrived.get()
                if asked is None:
                    return
                asking[id(asked.request)] = asked
                generator.add([asked.request])
            try:
                for request in generator.step():
                    if self._tell(asking[id(request)]):
                        del asking[id(request)]
                        generator.drop(request)
            except Exception as error:  # the server lives on; those who were waiting are told
                for asked in asking.values():
                    asked.put(f"{type(error).__name__}: {error}", "error")
                asking, generator = {}, self.adapter_set.generator()

    def _tell(self, asked: _Asked) -> bool:
        """Passes on what is new of an answer; whether it is at its end."""
        request = asked.request
        text, finish = self.adapter_set.text(request.tokens), request.finish
        ended = next((place for stop in asked.stops if (place := text.find(stop)) >= 0), None)
        if ended is not None:
            text, finish = text[:ended], "stop"
        if asked.gone:
            finish = finish or "gone"
        held = 0 if finish else max((_overlap(text, stop) for stop in asked.stops), default=0)
        whole = text[: len(text) - held]
        if finish or not whole.endswith("�"):  # half a character so far
            if len(whole) > len(asked.said) or finish:
                asked.put(whole[len(asked.said) :], finish)
            asked.said = whole
        return finish is not None


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of a stop text."""
    return next(
        (size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0
    )


def make_app(adapter_set: AdapterSet) -> Starlette:
    """The web application: /v1/models, /v1/chat/completions, /health."""
    engine = Engine(adapter_set)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine.start()
        yield
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
            body = json.loads(await request.body())
            asked = _read(body, adapter_set)
        except PacelineError as error:
            return _refused(str(error), 404 if str(error).startswith("no model") else 400)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            return _refused(f"the body is not JSON ({error})", 400)
        engine.ask(asked)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body["model"]}
        if body.get("stream"):
            wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return StreamingResponse(_stream(asked, head, wants_usage), media_type="text/event-stream")
        return await _whole(asked, head)

    routes = [
        Route("/v1/models", models),
        Route("/health", health),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _refused(message: str, status: int) -> Response:
    return JSONResponse(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}, status
    )


def _read(body: Any, adapter_set: AdapterSet) -> _Asked:
    """What a request body asks for.

    Raises:
        EvaluationError: an unknown model, or a field that cannot be served.
    """
    if not isinstance(body, dict):
        raise EvaluationError("the body must be an object")
    name = body.get("model")
    if name not in adapter_set.adapters:
        close, known = nearest(str(name), adapter_set.adapters), ", ".join(adapter_set.adapters)
        raise EvaluationError(f"no model {name!r}{close}; there are {known}")
    if body.get("n", 1) != 1 or body.get("tools"):
        raise EvaluationError("only one answer to a request is given (n = 1), and no tools are called")
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 512
    numbers = {
        "max_tokens": most,
        "temperature": body.get("temperature", 1.0),
        "top_p": body.get("top_p", 1.0),
        "seed": body.get("seed") or 0,
    }
    for key, value in numbers.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise EvaluationError(f"{key} must be a number that is not negative, not {value!r}")
    longest = getattr(adapter_set.base.model.config, "max_position_embeddings", None)
    thinking = bool((body.get("chat_template_kwargs") or {}).get("enable_thinking", False))
    sampling = Sampling(
        float(numbers["temperature"]), float(numbers["top_p"]), int(most), int(numbers["seed"])
    )
    stops = body.get("stop") or []
    stops = [stops] if isinstance(stops, str) else [str(stop) for stop in stops]
    prompt = adapter_set.prompt(_messages(body.get("messages")), thinking)
    if longest is not None and len(prompt) + sampling.max_new_tokens > longest:
        raise EvaluationError(
            f"{len(prompt)} tokens of prompt and up to {most} of answer do not fit into the model's {longest}"
        )
    request = Request(prompt, adapter_set.adapters[name], sampling, (name,))
    return _Asked(request, stops, asyncio.get_running_loop())


def _messages(turns: Any) -> Messages:
    if not isinstance(turns, list) or not turns:
        raise EvaluationError("messages must be a list of turns")
    return read_turns(list_of_turns(turns, "messages")).messages


def _usage(asked: _Asked) -> dict[str, int]:
    prompt, answer = len(asked.request.prompt), len(asked.request.tokens)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


async def _whole(asked: _Asked, head: JsonObject) -> Response:
    text, finish = "", None
    while finish is None:
        piece, finish = await asked.pieces.get()
        text += piece
    if finish == "error":
        return JSONResponse(
            {"error": {"message": text, "type": "server_error", "param": None, "code": None}}, 500
        )
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
        "logprobs": None,
    }
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": _usage(asked)})


async def _stream(asked: _Asked, head: JsonObject, wants_usage: bool) -> AsyncIterator[str]:
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
