"""Answers in OpenAI's form: whole, or as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from paceline.evaluate.serving.engine import Asked, Piece
from paceline.evaluate.serving.guard import refusal
from paceline.evaluate.serving.token_bytes import TokenBytes
from paceline.evaluate.serving.tool_calls import to_openai
from paceline.runs.files import JsonObject

# HTTP's status of a request that has no answer, by how its last piece ends.
_STATUS = {"error": 500, "refused": 400, "ends": 503}


class Reply:
    """The answers to one request.

    Args:
        head: the fields of every part.
        token_bytes: writes the tokens of log probabilities; None: they are not asked for.
    """

    def __init__(self, asked: list[Asked], head: JsonObject, token_bytes: TokenBytes | None) -> None:
        self._asked, self._head, self._token_bytes = asked, head, token_bytes

    async def whole(self, request: HTTPRequest) -> Response:
        """All answers, once they are there; nothing is sent to who hung up."""
        collected = asyncio.create_task(self._collected())
        hung_up = asyncio.ensure_future(request.receive())  # the body is read, so only that is left to come
        try:
            await asyncio.wait({collected, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if not collected.done():
                return Response(status_code=499)  # nobody reads it
            answers = collected.result()
        finally:
            collected.cancel()
            hung_up.cancel()
        if isinstance(answers, Piece):
            error = _error(answers)
            return refusal(error["message"], _STATUS[answers.finish or "error"], error["param"])
        choices = [self._choice(pieces) for pieces in answers]
        whole = {**self._head, "object": "chat.completion", "choices": choices, "usage": self._usage()}
        return JSONResponse(whole)

    async def stream(self, wants_usage: bool) -> AsyncIterator[str]:
        """Server-sent events: the role of each answer, what is new of any, the usage, the end."""
        for asked in self._asked:
            yield self._event(asked.index, {"role": "assistant", "content": ""})
        under_way = len(self._asked)
        while under_way:
            piece = await self._asked[0].pieces.get()
            if piece.finish in _STATUS:
                yield _data({"error": _error(piece)})
                return
            if piece.text or piece.chosen:
                yield self._event(piece.index, {"content": piece.text}, self._logprobs(piece.chosen))
            for place, call in enumerate(piece.calls):
                yield self._event(piece.index, {"tool_calls": [{"index": place, **to_openai(call)}]})
            if piece.finish:
                under_way -= 1
                yield self._event(piece.index, {}, finish=piece.finish)
        if wants_usage:
            yield self._chunk([], usage=self._usage())
        yield "data: [DONE]\n\n"

    async def _collected(self) -> list[list[Piece]] | Piece:
        """The pieces of each answer; or the one that says that there is none."""
        answers: list[list[Piece]] = [[] for _ in self._asked]
        under_way = len(answers)
        while under_way:
            piece = await self._asked[0].pieces.get()
            if piece.finish in _STATUS:
                return piece
            answers[piece.index].append(piece)
            under_way -= bool(piece.finish)
        return answers

    def _choice(self, pieces: list[Piece]) -> JsonObject:
        last, text = pieces[-1], "".join(piece.text for piece in pieces)
        message: JsonObject = {"role": "assistant", "content": text}
        if last.calls:
            calls = [to_openai(call) for call in last.calls]
            message = {"role": "assistant", "content": text or None, "tool_calls": calls}
        chosen = [entry for piece in pieces for entry in piece.chosen]
        return {
            "index": last.index,
            "message": message,
            "finish_reason": last.finish,
            "logprobs": self._logprobs(chosen),
        }

    def _event(
        self, index: int, delta: JsonObject, logprobs: JsonObject | None = None, finish: str | None = None
    ) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return self._chunk([choice])

    def _chunk(self, choices: list[JsonObject], **more: Any) -> str:
        return _data({**self._head, "object": "chat.completion.chunk", "choices": choices, **more})

    def _logprobs(self, chosen: list[Any]) -> JsonObject | None:
        if self._token_bytes is None:
            return None
        return {"content": [entry.to_json(self._token_bytes) for entry in chosen], "refusal": None}

    def _usage(self) -> dict[str, int]:
        prompt = len(self._asked[0].request.prompt)
        answers = sum(len(asked.request.tokens) for asked in self._asked)
        return {"prompt_tokens": prompt, "completion_tokens": answers, "total_tokens": prompt + answers}


def _data(content: JsonObject) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _error(piece: Piece) -> JsonObject:
    if piece.finish != "refused":
        return {"message": piece.text, "type": "server_error", "param": None, "code": None}
    kind = "invalid_request_error"
    return {"message": piece.text, "type": kind, "param": "response_format", "code": "invalid_value"}
