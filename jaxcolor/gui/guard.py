"""What stands before the page's web server: it lets in what the page itself sends, within bounds.

Gradio answers much more: it fetches what a client names from other machines, and keeps pictures
that nothing here deletes.
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import fastapi
from starlette.responses import PlainTextResponse, Response

from jaxcolor.gui.vault import COOKIE
from jaxcolor.plain_json import parse_json

UPLOAD = "/gradio_api/upload"
_CALL = "/gradio_api/queue/join"
_SENT = (UPLOAD, _CALL, "/gradio_api/cancel", "/gradio_api/reset")
_ASKED = ("GET", "HEAD", "OPTIONS")
# Of what is asked for: pictures of other machines, and what Gradio would write.
_CLOSED = re.compile(r"/gradio_api/(file=[^/]|file/|proxy=|deep_link|stream/)")
_ENVELOPE = 65_536  # bytes that a request may have around a file
_CALL_BYTES = 2**20  # of which the page's own needs a few thousand
# The page asks nobody else for anything: no font, script or picture.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)

_Receive = Callable[[], Awaitable[dict[str, Any]]]


class Guard:
    """Refuses what the page does not send, before it is read; adds policy and cookie."""

    def __init__(self, app, max_bytes: int):
        """Guard before an ASGI application.

        Args:
          app: the application.
          max_bytes: of an upload.
        """
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope, receive, send):
        """Answers one request, as ASGI has it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        refusal = self._refusal(scope)
        if not refusal and scope["path"] == _CALL and scope["method"] == "POST":
            body = await _read(receive)
            refusal, receive = _refuse_call(body), _repeat(body, receive)
        if refusal:
            return await refusal(scope, receive, send)

        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                    *self._cookie(scope),
                ]
            await send(message)

        return await self._app(scope, receive, send_with_policy)

    def _cookie(self, scope):
        """The header that lets a browser's uploads be told apart, with the page itself."""
        if scope["path"] != "/" or COOKIE in fastapi.Request(scope).cookies:
            return []
        value = f"{COOKIE}={secrets.token_hex(16)}; Path=/; HttpOnly; SameSite=Strict"
        return [(b"set-cookie", value.encode())]

    def _refusal(self, scope) -> Response | None:
        headers, path = dict(scope["headers"]), scope["path"]
        if scope["method"] not in _ASKED:
            # Browsers say where a request comes from, at least to this machine itself.
            if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
                return PlainTextResponse("that is for the page alone, not for other sites", 403)
            if path not in _SENT:
                return PlainTextResponse("the page has no use for that", 404)
        if _CLOSED.match(path):
            return PlainTextResponse("the page has no use for that", 404)
        if b"transfer-encoding" in headers:  # the length is not known beforehand
            return PlainTextResponse("the request must say its length", 411)
        length = int(headers.get(b"content-length", 0))  # h11 has checked that it is a number
        if length > (self._max_bytes + _ENVELOPE if path == UPLOAD else _CALL_BYTES):
            if path != UPLOAD:
                return PlainTextResponse(f"the request has more than {_CALL_BYTES} bytes", 413)
            limit = self._max_bytes / 2**20
            return PlainTextResponse(f"the file is larger than {limit:g} MB", 413)
        return None


async def _read(receive: _Receive) -> bytes:
    """The body of a request, of which the length was looked at."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _repeat(body: bytes, receive: _Receive) -> _Receive:
    """What gives a body once more, and then what comes after it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> dict[str, Any]:
        return left.pop() if left else await receive()

    return again


def _refuse_call(body: bytes) -> Response | None:
    try:
        left = [parse_json(body)]
    except ValueError as error:
        return PlainTextResponse(f"no call of the page: {error}", 400)
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "://" in str(value.get("path", "")):  # Gradio would fetch it
                return PlainTextResponse("a picture must be uploaded", 400)
            left += value.values()
        elif isinstance(value, list):
            left += value
    return None
