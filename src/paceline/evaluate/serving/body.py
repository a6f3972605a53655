"""What a request's body may ask for: every field typed and in range, all else refused by name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from paceline.errors import PacelineError

Stop = Annotated[str, Field(min_length=1, max_length=1000)]


class RequestError(PacelineError):
    """A request that is refused: with the field that is wrong, OpenAI's code, and the HTTP status."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StreamOptions(_Strict):
    """What a stream says beside the text."""

    include_usage: bool | None = None


class TemplateOptions(_Strict):
    """What the chat template is told."""

    enable_thinking: bool = False


class Body(_Strict):
    """The fields of a chat completion that are served, and those that change no answer."""

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    chat_template_kwargs: TemplateOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None


# Fields that are not served, and the values at which they ask for nothing; null is one for all of them.
NOT_SERVED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}


def read_body(raw: bytes) -> Body:
    """The body of a request.

    Raises:
        RequestError: not JSON, a field of another type or out of range, or one that is not served.
    """
    try:
        stored = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the body is not JSON ({error})") from error
    if not isinstance(stored, dict):
        raise RequestError("the body must be an object")
    for name in NOT_SERVED.keys() & stored.keys():
        value = stored.pop(name)
        if value is not None and not any(_same(value, harmless) for harmless in NOT_SERVED[name]):
            raise RequestError(f"{name} is not served; leave it out", name, "unsupported_parameter")
    try:
        return Body.model_validate(stored)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise RequestError(
                f"{_shown(param)} is not a known field", _shown(param), "unknown_parameter"
            ) from error
        raise RequestError(f"{param}: {first['msg']}", param, "invalid_value") from error


def _same(value: Any, harmless: Any) -> bool:
    """Equal, and true is not 1."""
    return isinstance(value, bool) == isinstance(harmless, bool) and bool(value == harmless)


def _shown(name: str) -> str:
    return name if len(name) <= 60 else name[:60] + "…"
