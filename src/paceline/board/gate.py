"""Who may use the board: whoever has the token that was printed, from the board's own pages."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Styles may be in the page: bars and plots are placed by them. Scripts may not.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Not a redirect: the browser would follow one from another site's link without the new cookie.
_WELCOME = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<link rel="icon" href="data:,"><title>Board</title><p><a href="/">Open the board</a></p></html>'
)


class Gate:
    """Asks every request for the token, in the address once and in a cookie from then on.

    What changes or spends something is asked by POST, and comes from a page of the board itself: a page of
    another server on this machine is the same site to a browser, so its Origin is compared, port and all.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token
        # cookies know no ports: each board has a name of its own
        self.cookie = f"paceline_board_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._answered(scope, Headers(scope=scope)) or self.app
        await answer(scope, receive, send_guarded)

    def _answered(self, scope: Scope, headers: Headers) -> Response | None:
        """What the gate says itself; None: the request may pass."""
        named = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and named and self._is_token(named[0]):
            response = HTMLResponse(_WELCOME)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return response
        found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        if found is None or not self._is_token(found.value):
            message = "open the address that `paceline board` printed: it has the token"
            return PlainTextResponse(message, 403)
        if scope["method"] not in ("GET", "HEAD") and headers.get("origin") != f"http://{headers['host']}":
            return PlainTextResponse("only a page of the board itself may ask for this", 403)
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())
