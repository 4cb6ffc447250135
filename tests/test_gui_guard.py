"""What is let in to the page's server, and what is refused before it is read."""

import asyncio
import json

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed: it comes with the extra gui")
from jaxcolor.gui.guard import Guard

JOIN = "/gradio_api/queue/join"
UPLOAD = "/gradio_api/upload"


def ask(method, path, body=b"", **headers):
    """Status of an answer, and the body that the application was given, if it was asked at all."""
    taken, sent = [], []

    async def application(scope, receive, send):
        message = await receive()
        taken.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    parts = [body[:5], body[5:]]

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    headers = {"content_length": str(len(body))} | headers
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }
    asyncio.run(Guard(application, max_bytes=1000)(scope, receive, send))
    return sent[0]["status"], taken[0] if taken else None


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/component_server",
        "/gradio_api/process_recording",
        "/gradio_api/run/take",
        "/gradio_api/api/take",
        "/gradio_api/call/take",
        "/gradio_api/upload/",
        "//gradio_api/upload",
        "/gradio_api/vibe-edit",
        "/login",
    ],
)
def test_what_the_page_does_not_send_is_refused(path):
    assert ask("POST", path, b"{}") == (404, None)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.org/x.png",
        "/gradio_api/file=https://example.org/x.png",
        "/gradio_api/file/http://example.org/x.png",
        "/gradio_api/proxy=https://example.org",
        "/gradio_api/deep_link",
        "/gradio_api/stream/a/b/c/playlist.m3u8",
    ],
)
def test_nothing_is_fetched_from_elsewhere(path):
    assert ask("GET", path) == (404, None)
    assert ask("GET", "/gradio_api/file=/tmp/x.png")[0] == 200


def test_calls_are_passed_on_as_they_are():
    file = {"path": "/tmp/folder/token", "url": "http://127.0.0.1:7860/gradio_api/file=/tmp/x"}
    body = json.dumps({"data": [file, "photos", 0], "fn_index": 3}).encode()
    assert ask("POST", JOIN, body) == (200, body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"no JSON", 400),
        (b"[" * 10_000, 400),
        (b"\xff\xfe", 400),
        (b"", 400),
        (b'{"data": [{"path": "http://example.org/x.png"}]}', 400),
        (b'{"data": {"composite": {"path": "https://example.org/x.png"}}}', 400),
        (b" " * (2**20 + 1), 413),
    ],
)
def test_calls_that_the_page_does_not_make_are_refused(body, status):
    assert ask("POST", JOIN, body) == (status, None)


def test_uploads_have_their_own_bound():
    assert ask("POST", UPLOAD, bytes(66_536))[0] == 200
    assert ask("POST", UPLOAD, bytes(66_537)) == (413, None)
    assert ask("POST", UPLOAD, b"", transfer_encoding="chunked") == (411, None)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_send_nothing(site):
    assert ask("POST", UPLOAD, b"x", sec_fetch_site=site) == (403, None)
    assert ask("POST", UPLOAD, b"x", sec_fetch_site="same-origin")[0] == 200
    assert ask("GET", "/", sec_fetch_site=site)[0] == 200  # a link leads there
