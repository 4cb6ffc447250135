"""The page as a user sees it: the command's own server, and a real browser without a network."""

import http.client
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from browsers import requested_urls, start_browser
from conftest import ROOT
from PIL import Image

from jaxcolor.colorize import picture_files

pytest.importorskip("gradio", reason="gradio is not installed: it is the extra gui")
MEBIBYTE = 2**20
PATIENCE = 60  # seconds


@pytest.fixture(scope="module")
def runs(tmp_path_factory, photo_workdir):
    """Two networks in one directory, and what a training leaves behind of one of them."""
    directory = tmp_path_factory.mktemp("runs")
    for name, left_out in (("photos", "none"), ("others", "6")):
        shutil.copytree(photo_workdir, directory / name, ignore=shutil.ignore_patterns(left_out))
    (directory / "broken" / "checkpoints" / "6").mkdir(parents=True)
    (directory / "photos" / "samples").mkdir()
    Image.new("RGB", (48, 16), "red").save(directory / "photos" / "samples" / "epoch_0001.png")
    row = {"step": 4, "epoch": 1, "kind": "validation", "l1": 0.5}
    (directory / "photos" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return directory


@pytest.fixture(scope="module")
def quick(environment):
    """The environment of commands that compile fast, as in all tests."""
    return environment | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of four kinds with names that are no good as paths or HTML."""
    directory = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 60), np.uint8)
    Image.fromarray(grey).save(directory / "<i>old & grey.png")
    Image.fromarray(grey[:, :33]).save(directory / "photo.jpg")
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(directory / "colour.tif")
    Image.fromarray(grey.astype(np.uint16) * 250).save(directory / "deep.png")
    return directory


@pytest.fixture(scope="module")
def coloured_by_command(folder, runs, tmp_path_factory, quick):
    """The command at work on them with the network for photographs, and where its results go."""
    out = tmp_path_factory.mktemp("expected")
    words = ["colorize", str(folder), f"--model={runs / 'photos'}", f"--out={out}"]
    command = [sys.executable, "-m", "jaxcolor", *words]
    process = subprocess.Popen(command, env=quick, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    yield process, out
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def expected(coloured_by_command):
    """What the command makes of them, by name."""
    process, out = coloured_by_command
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return {path.name: path.read_bytes() for path in out.iterdir()}


class Server:
    """The command in a process of its own, whose only place for temporary files is `temporary`."""

    def __init__(self, runs, temporary, environment):
        words = ["gui", f"--model={runs / 'photos'}", f"--runs={runs}", "--port=0"]
        words += ["--max_megabytes=1", "--max_pixels=1000000"]
        self.temporary = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jaxcolor", *words],
            env=environment | {"TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if "http://" in line:
                self.url = line.split()[1] + "/"
                return
        pytest.fail(self.process.stderr.read())

    def kept(self):
        """Pictures of users that are there now."""
        return list(self.temporary.glob("jaxcolor-gui-*/pictures/*"))

    def ask(self, method, path, body=None, headers=()):
        """Status and content of an answer, without a browser."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@pytest.fixture(scope="module")
def server(runs, tmp_path_factory, quick, coloured_by_command):
    started = Server(runs, tmp_path_factory.mktemp("temporary"), quick)
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.fixture(scope="module")
def browser(server, tmp_path_factory):
    started = start_browser(tmp_path_factory.mktemp("profile"), 1280, 1000)
    started.get(server.url)
    yield started
    started.quit()


@pytest.fixture
def page(browser, server):
    """The page, freshly loaded and ready; of the one before nothing is left."""
    browser.get(server.url)
    wait(lambda: len(find(browser, "#examples img")) == 8)
    wait(lambda: not server.kept())
    return browser


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def wait(condition):
    """What the condition gives when it is true; elements may come and go meanwhile."""
    from selenium.common.exceptions import WebDriverException

    last = None
    for _ in range(PATIENCE * 20):
        try:
            if found := condition():
                return found
        except (WebDriverException, ValueError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"in vain for {PATIENCE} s: {last}")


def status(browser):
    return find(browser, "#status")[0].text


def upload(browser, path):
    find(browser, "#file input[type=file]")[0].send_keys(str(path))


def tab(browser, name):
    (button,) = [each for each in find(browser, "button[role=tab]") if each.text == name]
    button.click()


def choose(browser, selector, text):
    find(browser, f"{selector} input")[0].click()
    option = wait(lambda: [e for e in find(browser, "[role=option]") if e.text.strip() == text])
    option[0].click()


def link(browser):
    """Where the download button leads."""
    (found,) = find(browser, "#download a")
    return found.get_attribute("href")


def fetch(browser):
    """Name and content of the file behind the download button."""
    with urllib.request.urlopen(link(browser), timeout=PATIENCE) as answer:
        return answer.headers.get_filename(), answer.read()


def test_a_picture_is_uploaded_coloured_compared_and_downloaded(
    page, server, folder, expected, tmp_path
):
    name = "<i>old & grey.png"
    upload(page, folder / name)
    wait(lambda: find(page, "#download a"))
    assert status(page).startswith(f"{name} 60 x 40, 8 bits, PNG; coloured by photos in ")
    assert wait(lambda: find(page, "#slider img"))[0].get_property("naturalWidth") == 60
    assert all(path.stem.isalnum() for path in server.kept())  # no name of the client's
    _move_slider(page)
    page.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    find(page, "#download a")[0].click()
    wait(lambda: list(tmp_path.glob("*grey.png")))
    assert fetch(page) == (name, expected[name])
    (downloaded,) = tmp_path.iterdir()  # Chromium makes a name that it likes
    assert downloaded.read_bytes() == expected[name]
    pixels = picture_files.read(downloaded).pixels
    assert pixels.shape == (40, 60, 3)
    assert (pixels[..., 0] != pixels[..., 2]).any()


def _move_slider(page):
    from selenium.webdriver import ActionChains

    def shown():
        """Where the handle is, and what is cut off of the upper picture."""
        handle = find(page, "#slider [role=none] > .outer, #slider .outer")[0]
        cut = page.execute_script(
            "return getComputedStyle(document.querySelectorAll('#slider img')[1]).clipPath"
        )
        return handle.rect["x"], cut, handle

    x, cut, handle = wait(shown)
    ActionChains(page).drag_and_drop_by_offset(handle, 80, 0).perform()
    moved, other, _ = shown()
    assert 60 <= moved - x <= 100
    assert other != cut


@pytest.mark.parametrize("name", ["photo.jpg", "colour.tif", "deep.png"])
def test_the_download_is_the_file_that_the_command_writes(page, folder, expected, name):
    upload(page, folder / name)
    wait(lambda: find(page, "#download a"))
    assert fetch(page) == (name, expected[name])
    assert ("its own was dropped" in status(page)) == (name == "colour.tif")


def test_models_and_render_sizes_are_chosen(page, folder):
    upload(page, folder / "photo.jpg")
    wait(lambda: find(page, "#download a"))
    place, first = link(page), fetch(page)[1]
    choose(page, "#render", "64")
    wait(lambda: link(page) != place)
    place = link(page)
    second = fetch(page)[1]
    assert second != first
    time.sleep(2)
    assert link(page) == place  # coloured once
    choose(page, "#model", "others")
    wait(lambda: "coloured by others" in status(page) and link(page) != place)
    assert fetch(page)[1] not in (first, second)
    find(page, "#examples button")[1].click()
    wait(lambda: status(page).startswith("example_2.png 64 x 64"))


def test_a_model_that_cannot_be_loaded_is_refused_in_the_page(page):
    choose(page, "#model", "broken")
    wait(lambda: find(page, "#status .refused"))
    wait(lambda: not find(page, "#examples img"))
    choose(page, "#model", "photos")
    wait(lambda: len(find(page, "#examples img")) == 8)
    assert status(page).startswith("Drop a picture")
    assert find(page, "#about")[0].text.startswith("Colours grey photographs; 16 pixels")


@pytest.mark.slow  # seconds of WebGL without a GPU
def test_a_sketch_is_drawn_and_coloured(page):
    from selenium.webdriver import ActionChains

    tab(page, "Sketch")
    canvas = wait(lambda: find(page, "#canvas canvas"))[0]
    find(page, "#draw")[0].click()
    wait(lambda: "nothing on the canvas yet" in status(page))
    wait(lambda: find(page, "#canvas [aria-label=Brush].highlight"))
    pen = ActionChains(page).move_to_element(canvas).click_and_hold()
    pen.move_by_offset(80, 0).move_by_offset(0, 80).move_by_offset(-80, 0).release().perform()
    find(page, "#draw")[0].click()
    wait(lambda: status(page).startswith("sketch.png 16 x 16"))
    assert fetch(page)[0] == "sketch.png"


def test_sheets_and_curves_of_the_training_are_there(page):
    tab(page, "Training")
    wait(lambda: find(page, ".curves svg"))
    image = wait(lambda: find(page, "#sheets img"))[0]
    wait(lambda: image.get_property("naturalWidth") == 48)


def bomb():
    """A PNG of a few bytes that says it has 60000x60000 pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def test_what_is_no_picture_or_too_large_is_refused_in_the_page(page, folder, tmp_path):
    upload(page, folder / "photo.jpg")
    wait(lambda: find(page, "#download a"))
    for name, data, said in (
        ("bomb.png", bomb(), "cannot|60000x60000 pixels|far more pixels"),
        ("large.png", large(), "1001x1000 pixels, more than the 1000000 that are allowed"),
        ("text.png", b"no picture", "cannot read the picture text.png"),
        ("empty.png", b"", "cannot read the picture empty.png (an empty file)"),
    ):
        (tmp_path / name).write_bytes(data)
        upload(page, tmp_path / name)
        wait(lambda name=name: name in status(page))
        assert any(part in status(page) for part in said.split("|")), status(page)
        assert find(page, "#status .refused")
        assert not find(page, "#download a")
        assert not find(page, "#slider img")
    for name, size, said in (
        ("words.txt", 10, "Invalid file type: words.txt"),
        ("heavy.png", MEBIBYTE + 1, "exceed the maximum allowed size of 1.0"),
    ):
        (tmp_path / name).write_bytes(bytes(size))
        upload(page, tmp_path / name)
        wait(lambda said=said: said in find(page, "body")[0].text)
    upload(page, folder / "photo.jpg")  # and it goes on
    wait(lambda: find(page, "#download a"))


def large():
    import io

    buffer = io.BytesIO()
    Image.new("1", (1001, 1000)).save(buffer, "PNG")
    return buffer.getvalue()


def test_users_at_once_are_queued_and_get_their_own(page, server, folder, expected):
    tabs = {page.current_window_handle: "photo.jpg"}
    for name in ("deep.png", "<i>old & grey.png"):
        page.switch_to.new_window("tab")
        page.get(server.url)
        wait(lambda: len(find(page, "#examples img")) == 8)
        tabs[page.current_window_handle] = name
    for handle, name in tabs.items():
        page.switch_to.window(handle)
        upload(page, folder / name)
    first, *others = tabs
    for handle, name in tabs.items():
        page.switch_to.window(handle)
        wait(lambda: find(page, "#download a"))
        assert fetch(page) == (name, expected[name])
    assert len(server.kept()) == 4 * len(tabs)  # a picture, its result, and before and after
    for handle in others:
        page.switch_to.window(handle)
        page.close()
    page.switch_to.window(first)
    wait(lambda: len(server.kept()) == 4)


def test_the_server_has_the_same_bounds_without_the_page(server):
    kind = ("Content-Type", "multipart/form-data; boundary=x")
    start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../a.png"\r\n\r\n'
    before = len(server.kept())
    too_much = start + bytes(2 * MEBIBYTE) + b"\r\n--x--\r\n"
    found, said = server.ask("POST", "/gradio_api/upload", too_much, [kind])
    assert (found, said) == (413, b"the file is larger than 1 MB")
    parts = iter([start, b"abc\r\n--x--\r\n"])
    assert server.ask("POST", "/gradio_api/upload", parts, [kind])[0] == 411
    assert len(server.kept()) == before
    found, said = server.ask("POST", "/gradio_api/upload", start + b"abc\r\n--x--\r\n", [kind])
    (path,) = map(Path, json.loads(said))
    assert path in server.kept()
    assert path.read_bytes() == b"abc"
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    assert server.ask("POST", "/gradio_api/upload", b"a=b&" * 9, form)[0] == 415
    assert server.ask("GET", "/result/..%2f..%2fetc%2fpasswd")[0] == 404
    assert server.ask("GET", "/", headers=[("Host", "elsewhere.example")])[0] == 400


@pytest.mark.parametrize("place", ["file", "sketch"])
def test_a_client_cannot_name_a_file_of_the_server(server, folder, place):
    secret = {"path": str(folder / "photo.jpg"), "meta": {"_type": "gradio.FileData"}}
    name = {"file": "take", "sketch": "draw"}[place]
    if place == "sketch":
        secret = {"background": secret, "layers": [], "composite": secret, "id": None}
    config = json.loads(server.ask("GET", "/config")[1])
    (event,) = [each["id"] for each in config["dependencies"] if each["api_name"] == name]
    asked = {"data": [secret, "photos", 0], "fn_index": event, "session_hash": f"thief{place}"}
    before = len(server.kept())
    kind = [("Content-Type", "application/json")]
    assert server.ask("POST", "/gradio_api/queue/join", json.dumps(asked), kind)[0] == 200
    path = f"/gradio_api/queue/data?session_hash=thief{place}"
    messages = server.ask("GET", path)[1].decode().splitlines()
    (done,) = [line for line in messages if "process_completed" in line]
    assert json.loads(done.partition(":")[2])["success"] is False
    assert "was not uploaded by a user" in done
    assert len(server.kept()) == before


def test_the_page_works_without_a_network(browser, server):
    """What all tests above asked for, if they ran: nothing of another machine."""
    browser.get(server.url)
    wait(lambda: len(find(browser, "#examples img")) == 8)
    urls = requested_urls(browser, server.url)
    assert len(urls) > 10
    strange = {url for url in urls if not url.startswith((server.url, f"blob:{server.url}"))}
    assert strange == set()
    severe = [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]
    assert [row for row in severe if "Content Security Policy" in row["message"]] == []
    fonts = browser.execute_script("return [...document.fonts].map(x => x.status)")
    assert "error" not in fonts


def test_nothing_is_left_when_the_server_ends(server):
    os.kill(server.process.pid, signal.SIGTERM)
    output, errors = server.process.communicate(timeout=PATIENCE)
    assert server.process.returncode == 0
    assert "nothing of what was uploaded is left" in output
    assert list(server.temporary.iterdir()) == []
    assert "CancelledError" not in errors  # of pages that were still open
