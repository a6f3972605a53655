"""What a request to the chat endpoint may hold: OpenAI's fields, each with its type and range."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paceline.errors import EvaluationError

_DEFAULT_TOKENS = 512
_Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StreamOptions(_Strict):
    """`include_usage` adds a last event with the token counts."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class TemplateOptions(_Strict):
    """What the chat template is told."""

    enable_thinking: bool = False


class ResponseFormat(_Strict):
    """Plain text; no other form can be had."""

    type: Literal["text"] = "text"


class ChatRequest(_Strict):
    """A body of `/v1/chat/completions`; fields that nothing here does may only say so."""

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: _Text | Annotated[list[_Text], Field(max_length=16)] | None = None
    chat_template_kwargs: TemplateOptions | None = None
    # told for their own records
    user: str | None = None
    metadata: dict[str, str] | None = None
    # not done here
    n: Literal[1] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    logprobs: Literal[False] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def longest(self) -> int:
        """Tokens that an answer may have."""
        return self.max_completion_tokens or self.max_tokens or _DEFAULT_TOKENS

    @property
    def stops(self) -> list[str]:
        """Texts that end an answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def thinking(self) -> bool:
        """Whether the answer may begin with a thought."""
        return bool(self.chat_template_kwargs and self.chat_template_kwargs.enable_thinking)


class BadRequestError(EvaluationError):
    """A request that cannot be served; `param` is the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def read_request(body: bytes) -> ChatRequest:
    """A body as a request.

    Raises:
        BadRequestError: with the first field that is wrong, unknown, or asks for what is not done.
    """
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(
            str(part) for part in fault["loc"] if not str(part).startswith(("constrained", "function"))
        )
        if fault["type"] == "extra_forbidden":
            message = f"{param}: not supported here"
        elif fault["type"] == "json_invalid":
            message = f"the body is not JSON ({fault['msg']})"
        else:
            message = f"{param or 'the body'}: {fault['msg']}"
        raise BadRequestError(message, param or None) from error
