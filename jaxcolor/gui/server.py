"""The web server of the page: uploads and downloads of its own around Gradio's, within bounds.

Gradio would keep an upload under its client's name, and serve a result under the file's.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import fastapi
import gradio as gr
from starlette.datastructures import UploadFile
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from jaxcolor.errors import DataError
from jaxcolor.gui import looks
from jaxcolor.gui.guard import UPLOAD, Guard
from jaxcolor.gui.vault import COOKIE, Vault

SWEEP_SECONDS = 60


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
    app.add_middleware(Guard, max_bytes=max_bytes)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    return app


def _add_routes(app, vault):
    # Before the page is mounted: these are found first. The answers are those of Gradio's route.
    @app.post(UPLOAD)
    async def upload(request: fastapi.Request) -> Response:
        kind = request.headers.get("content-type", "")
        if not kind.lower().startswith("multipart/form-data"):
            return PlainTextResponse("an upload must be multipart/form-data", 415)
        try:
            async with request.form(max_files=1, max_fields=8) as form:
                files = [value for value in form.values() if isinstance(value, UploadFile)]
                if not files:
                    return PlainTextResponse("no file in the upload", 400)
                given = files[0].file, files[0].filename or ""
                token = await asyncio.to_thread(vault.put, *given)
        except DataError as error:
            return PlainTextResponse(str(error), 507)
        # The sketchpad uploads after every stroke, and only the last is ever taken.
        if browser := request.cookies.get(COOKIE):
            vault.hold(browser, token, token)
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
