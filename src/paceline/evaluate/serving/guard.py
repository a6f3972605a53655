"""What stands before the application: who may ask, how many at once, how large and how slow a body may be."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from paceline.evaluate.serving.body import RequestError

ENDS = "the server ends"
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Limits:
    """What one server bears: bytes of a body, seconds until it is there, requests under way or in line."""

    body_bytes: int = 4 * 2**20
    body_seconds: float = 30.0
    requests: int = 256


class UnderWay:
    """The requests that are read, in line or answered, so that they can be told that the server ends."""

    def __init__(self) -> None:
        self.requests: dict[asyncio.Task[None], Scope] = {}
        self.ended = False

    @contextlib.contextmanager
    def holding(self, task: asyncio.Task[None], scope: Scope) -> Iterator[None]:
        """Counts a request among them for the block."""
        self.requests[task] = scope
        try:
            yield
        finally:
            del self.requests[task]

    def end(self) -> None:
        """Ends all with an error: an answer under way by its last piece, what is still read by 503."""
        self.ended = True
        for task, scope in self.requests.items():
            if asked := scope.get("asked"):
                asked[0].end(ENDS)  # its twins share its pieces
            else:
                task.cancel()


class Guard:
    """Refuses strangers, and requests beyond those that may be under way at once.

    Without a key the server is for this machine only: a page in its browser that names another host (DNS
    rebinding) or comes from another site is refused.
    """

    def __init__(self, app: ASGIApp, key: str | None, limits: Limits, under_way: UnderWay) -> None:
        self.app, self.key, self.limits, self.held = app, key, limits, under_way
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if (refused := self._refused(scope["path"], Headers(scope=scope))) is not None:
            return await refused(scope, receive, send)
        if scope["path"] != CHAT:
            return await self.app(scope, receive, send)
        scope["guard"], scope["places"] = self, 0
        task = asyncio.current_task()
        assert task is not None
        try:
            self.take_places(scope, 1)
            with self.held.holding(task, scope):
                await self.app(scope, receive, send)
        except asyncio.CancelledError:
            if not self.held.ended or "asked" in scope:
                raise
            task.uncancel()
            await refusal(ENDS, 503)(scope, receive, send)
        except RequestError as error:
            await refusal(str(error), error.status, error.param, error.code)(scope, receive, send)
        finally:
            self.under_way -= scope["places"]
            for asked in scope.get("asked", []):
                asked.gone = True  # answered, or its reader hung up; the engine lets it go

    def take_places(self, scope: Scope, count: int) -> None:
        """Lets a request have as many more places in the line, until it is over.

        Raises:
            RequestError: there are not so many.
        """
        if self.under_way + count > self.limits.requests:
            raise RequestError("too many requests are in line", None, "rate_limit_exceeded", 429)
        self.under_way += count
        scope["places"] += count

    def _refused(self, path: str, headers: Headers) -> Response | None:
        if self.key is None:
            origin = headers.get("origin")
            if not _is_local(f"//{headers.get('host', '')}") or (origin and not _is_local(origin)):
                return refusal(
                    "without a key only this machine is served: Host and Origin must be loopback", 403
                )
        elif path != "/health":
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {self.key}".encode()):
                return refusal("a wrong API key, or none", 401, code="invalid_api_key")
        return None


def is_loopback(host: str) -> bool:
    """Whether a host's name or address can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_local(address: str) -> bool:
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:
        return False


async def read_raw(request: Request, limits: Limits) -> bytes:
    """The bytes of a request's body.

    Raises:
        RequestError: more than may be, whether the header says so or not; or they do not come.
    """
    most = f"a body may have {limits.body_bytes} bytes"
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:20]) > limits.body_bytes:
        raise RequestError(most, status=413)
    raw = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > limits.body_bytes:
                    raise RequestError(most, status=413)
    except TimeoutError as error:
        message = f"the body did not arrive within {limits.body_seconds:g} s"
        raise RequestError(message, status=408) from error
    except ClientDisconnect as error:
        raise RequestError("hung up", status=400) from error
    return bytes(raw)


def refusal(message: str, status: int, param: str | None = None, code: str | None = None) -> Response:
    """An error in OpenAI's form."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    # what was not read of a body must not be taken for the next request
    headers = {"Connection": "close"} if status in (408, 413, 503) else {}
    if status == 429:
        headers["Retry-After"] = "5"
    return JSONResponse(
        {"error": {"message": message, "type": kind, "param": param, "code": code}}, status, headers
    )
