"""What a request's body may ask for: every field typed and in range, all else refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from paceline.config.fields import Fields
from paceline.errors import PacelineError

Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
MOST_ANSWERS = 16
ANY_OBJECT: Fields = {"type": "object"}


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


class PlainFormat(_Strict):
    """An answer that is text, or any JSON object."""

    type: Literal["text", "json_object"]

    @property
    def as_schema(self) -> Fields | None:
        return ANY_OBJECT if self.type == "json_object" else None


class JSONSchema(_Strict):
    """A schema with its name, which changes nothing; it is always kept to, `strict` or not."""

    name: str
    description: str | None = None
    schema_: Fields = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(_Strict):
    """An answer that is JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JSONSchema

    @property
    def as_schema(self) -> Fields | None:
        return self.json_schema.schema_


class _Function(_Strict):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: Fields | None = None
    strict: Literal[False] | None = None  # a call's arguments are as the model writes them


class _Tool(_Strict):
    type: Literal["function"]
    function: _Function


def _checked(tool: Fields) -> Fields:
    """A tool as it was given, which is how data have it; `strict` is for the server."""
    _Tool.model_validate(tool)
    function: Any = tool["function"]
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}


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
    n: int | None = Field(None, ge=1, le=MOST_ANSWERS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    response_format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None
    tools: Annotated[list[Annotated[Fields, AfterValidator(_checked)]], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None

    @property
    def json_schema(self) -> Fields | None:
        """What the answer must be JSON of, if anything."""
        return self.response_format.as_schema if self.response_format else None


# Fields that are not served, and the values at which they ask for nothing; null is one for all of them.
NOT_SERVED: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "repetition_penalty": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "logit_bias": ({},),
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
        body = Body.model_validate(stored)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise RequestError(
                f"{_shown(param)} is not a known field", _shown(param), "unknown_parameter"
            ) from error
        raise RequestError(f"{param}: {first['msg']}", param, "invalid_value") from error
    _refuse_together(body)
    return body


def _refuse_together(body: Body) -> None:
    """Refuses fields that stand against each other."""
    if body.top_logprobs is not None and not body.logprobs:
        raise RequestError("top_logprobs needs logprobs: true", "top_logprobs", "invalid_value")
    if body.json_schema is not None and body.stop:
        raise RequestError("stop could cut the JSON of response_format", "stop", "invalid_value")
    if body.json_schema is not None and body.tools:
        raise RequestError("tools with a response_format are not served", "tools", "unsupported_parameter")
    if body.tools and body.parallel_tool_calls is False:
        message = "parallel_tool_calls: false is not served; leave it out"
        raise RequestError(message, "parallel_tool_calls", "unsupported_parameter")


def _same(value: Any, harmless: Any) -> bool:
    """Equal, and true is not 1."""
    return isinstance(value, bool) == isinstance(harmless, bool) and bool(value == harmless)


def _shown(name: str) -> str:
    return name if len(name) <= 60 else name[:60] + "…"
