"""python -m jaxcolor gui: pictures coloured in the browser."""

import argparse
import contextlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from jaxcolor.colorize import Colorizer
from jaxcolor.colorize.picture_files import MAX_PIXELS
from jaxcolor.command import errors_as_lines, make_parser, set_up_jax
from jaxcolor.data.check_report import printable
from jaxcolor.data.pictures import expand
from jaxcolor.errors import ConfigError, UserError
from jaxcolor.gui.folders import temporary_folder
from jaxcolor.gui.models import Models, find_models

DESCRIPTION = """\
Opens a page on this machine on which pictures are coloured: drop one or draw a sketch.

  gui --model WORKDIR
  gui --runs runs                 choose among the models below a directory

Needs Gradio: pip install -e ".[gui]". The page asks the network for nothing. Pictures are kept in
a temporary folder for as long as their page is open, an hour at most. Ctrl-C ends it."""

_LOCAL = ("127.0.0.1", "localhost")
_LAST_PORT = 65_535
_GRADIO = 6  # its major version


class GuiError(UserError):
    """The page cannot be opened."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    words = make_parser("gui", DESCRIPTION)
    add = words.add_argument
    add("--model", metavar="WORKDIR", help="of a training, or an export")
    add("--runs", metavar="DIR", help="offer the models below; default without --model: runs")
    add("--host", default=_LOCAL[0], help=f"default: {_LOCAL[0]}, this machine alone")
    add("--port", type=int, default=7860, help="default: 7860; 0: any that is free")
    add("--max_megabytes", type=int, default=64, metavar="N", help="of an upload; default: 64")
    limit = f"largest picture that is read; default: {MAX_PIXELS}"
    add("--max_pixels", type=int, default=MAX_PIXELS, metavar="N", help=limit)
    return words


def main(argv: Sequence[str]) -> int:
    """Runs the command on its words; returns the exit status."""
    values = parser().parse_args(list(argv))
    with errors_as_lines() as status:
        set_up_jax()
        try:
            serve(values)
        except KeyboardInterrupt:
            print("closed; nothing of what was uploaded is left")
    return status[0]


def serve(values: argparse.Namespace) -> None:
    """Serves the page until it is interrupted.

    Raises:
      UserError: it cannot, saying why.
    """
    for name in ("max_megabytes", "max_pixels"):
        if getattr(values, name) < 1:
            raise ConfigError(f"--{name} {getattr(values, name)} must be at least 1")
    if not 0 <= values.port <= _LAST_PORT:
        raise ConfigError(f"--port {values.port} must be from 0 to {_LAST_PORT}")
    model, runs = (expand(word) if word else None for word in (values.model, values.runs))
    runs = Path("runs") if model is None and runs is None else runs
    models = Models(find_models(model, runs))
    for line in models.colorizer(next(iter(models.workdirs))).trained.warnings:
        print(printable(line), flush=True)
    with (
        _listen(values.host, values.port) as listening,
        _signals_as_interrupts(),
        temporary_folder() as folder,
    ):
        _import_gradio(folder)
        _serve(values, models, folder, listening)


@contextlib.contextmanager
def _signals_as_interrupts():
    """Lets nothing be left when a scheduler ends the process, or its terminal is closed."""
    handlers = {
        signal.SIGTERM: signal.default_int_handler,
        # While it serves, SIGTERM is the server's own.
        signal.SIGHUP: lambda *_: signal.raise_signal(signal.SIGTERM),
    }
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup
        del handlers[signal.SIGHUP]
    before = {number: signal.signal(number, handlers[number]) for number in handlers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def load_first(models: Models, *, asked: bool) -> Colorizer:
    """The first of the models, or the first that can be loaded: those before it are taken out.

    Args:
      models: at least one.
      asked: the first is the one that the user named.

    Raises:
      UserError: the one that was asked for cannot be loaded, or none.
    """
    for name in list(models.workdirs):
        try:
            return models.colorizer(name)
        except UserError as error:
            if asked or len(models.workdirs) == 1:
                raise
            print(f"passed over: {printable(str(error))}", flush=True)
            del models.workdirs[name]


def _import_gradio(folder):
    """Imports Gradio, which is to write into `folder` alone and to call nobody."""
    if importlib.util.find_spec("gradio") is None:
        raise GuiError('the GUI needs Gradio, the extra gui: pip install -e ".[gui]"')
    os.environ |= {
        "GRADIO_TEMP_DIR": os.fspath(folder),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    import gradio

    if int(gradio.__version__.partition(".")[0]) != _GRADIO:
        raise GuiError(
            f"the GUI needs Gradio {_GRADIO}, and {gradio.__version__} is installed: "
            'pip install -e ".[gui]"'
        )


def _listen(host, port):
    """A socket that listens; port 0 becomes a free one."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        known = error.errno if error.errno and error.errno > 0 else None  # negative: of a name
        reason = os.strerror(known) if known else error.strerror
        raise GuiError(
            f"cannot listen on {host}, port {port} ({reason}): choose another --port, or 0 for any"
        ) from error


def _serve(values, models, folder, listening):
    import uvicorn

    from jaxcolor.gui import page, server
    from jaxcolor.gui.desk import Desk
    from jaxcolor.gui.vault import Vault

    Image.MAX_IMAGE_PIXELS = values.max_pixels
    uploads = folder / "pictures"
    uploads.mkdir()
    vault = Vault(uploads)
    app = server.make_app(
        page.build(models, Desk(models, vault, values.max_pixels)),
        vault,
        max_bytes=values.max_megabytes * 2**20,
        hosts=list(_LOCAL) if values.host in _LOCAL else ["*"],
        readable=[workdir / "samples" for workdir in models.workdirs.values()],
    )
    host, port = listening.getsockname()[:2]
    listed = ", ".join(models.workdirs)
    print(f"models: {printable(listed)}")
    if values.host not in _LOCAL:
        print("note: whoever reaches this machine can use it")
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"open {address} in a browser; Ctrl-C ends it", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    _end_quietly(server)
    server.run(sockets=[listening])


def _end_quietly(server):
    """Spares the user a traceback for each page that is still open when the server ends."""

    def end(signal_number, frame):
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        original(signal_number, frame)

    original, server.handle_exit = server.handle_exit, end
