"""The web server of the page: uploads and downloads of its own around Gradio's, within bounds.

Gradio would keep an upload under its client's name, and serve a result under the file's.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import fastapi
import gradio as gr
from starlette.datastructures import UploadFile
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from jaxcolor.errors import DataError
from jaxcolor.gui import looks
from jaxcolor.gui.vault import COOKIE, Vault

SWEEP_SECONDS = 60
_ENVELOPE = 65_536  # bytes that a request may have around a file
# The page asks nobody else for anything: no font, script or picture.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)


def make_app(
    page: gr.Blocks, vault: Vault, *, max_bytes: int, hosts: list[str], readable: list[Path]
) -> fastapi.FastAPI:
    """The page as a web application.

    Args:
      page: what `page.build` made.
      vault: of uploads and results.
      max_bytes: of an upload.
      hosts: names under which browsers may ask for it: others are an attack by DNS.
      readable: directories with pictures that the page shows.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(vault))
        yield
        sweeping.cancel()

    app = fastapi.FastAPI(lifespan=lifespan, openapi_url=None)
    _add_routes(app, vault)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=max_bytes,
        allowed_paths=[os.fspath(path.resolve()) for path in readable],
        theme=looks.theme(),
        css=looks.CSS,
        head=looks.HEAD,
    )
    page.has_launched = True  # only then does Gradio refuse paths that a client makes up
    app.add_middleware(_Bounded, max_bytes=max_bytes)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    return app


def _add_routes(app, vault):
    # Before the page is mounted: these are found first. The answers are those of Gradio's route.
    @app.post("/gradio_api/upload")
    async def upload(request: fastapi.Request) -> Response:
        async with request.form(max_files=1, max_fields=8) as form:
            files = [value for value in form.values() if isinstance(value, UploadFile)]
            if not files:
                return PlainTextResponse("no file in the upload", 400)
            data = await files[0].read()
        try:
            token = await asyncio.to_thread(vault.put, data, files[0].filename or "")
            # The sketchpad uploads after every stroke, and only the last is ever taken.
            if browser := request.cookies.get(COOKIE):
                vault.hold(browser, token, token)
        except DataError as error:
            return PlainTextResponse(str(error), 507)
        return JSONResponse([os.fspath(vault.get(token).path)])

    @app.get("/gradio_api/upload_progress")
    async def upload_progress() -> Response:
        return PlainTextResponse('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    @app.get("/result/{token}")
    async def result(token: str) -> Response:
        try:
            kept = vault.get(token)
        except DataError as error:
            return PlainTextResponse(str(error), 404)
        return FileResponse(kept.path, filename=kept.name, media_type="application/octet-stream")


async def _sweep(vault):
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await asyncio.to_thread(vault.sweep)


class _Bounded:
    """Refuses requests larger than a file may be, before they are read; adds policy and cookie."""

    def __init__(self, app, max_bytes: int):
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope, receive, send):
        """Answers one request, as ASGI has it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if refusal := self._refusal(scope):
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

    def _refusal(self, scope):
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:  # the length is not known beforehand
            return PlainTextResponse("the request must say its length", 411)
        length = int(headers.get(b"content-length", 0))  # h11 has checked that it is a number
        if length > self._max_bytes + _ENVELOPE:
            limit = self._max_bytes / 2**20
            return PlainTextResponse(f"the file is larger than {limit:g} MB", 413)
        return None
