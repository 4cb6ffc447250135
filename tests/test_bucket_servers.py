"""A training in buckets of servers on this machine, by s3fs and gcsfs, over HTTP.

Skipped where a server or its filesystem is not installed: docs/buckets.md says what brings them.
"""

import contextlib
import re
import subprocess
import sys
import time
import urllib.request

import fsspec
import numpy as np
import pytest
from conftest import ROOT, command_line
from many_hosts import free_port
from processes import finish, stored_state, wait_for_step

from jaxcolor.data.buckets import local_name

# The clouds' libraries warn of their own affairs.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

RUN = {"train.epochs": 3, "checkpoint.every_steps": 4}
GCS = "from gcp_storage_emulator.__main__ import main; main()"
SERVERS = {
    "s3": (
        ["-m", "moto.server", "-H", "127.0.0.1", "-p", "PORT"],
        {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:PORT",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        ("moto", "flask", "s3fs"),
    ),
    "gs": (
        ["-c", GCS, "start", "--host=127.0.0.1", "--port=PORT", "--in-memory"],
        # Without the second, gcsfs asks Google each time what kind of bucket it is.
        {
            "STORAGE_EMULATOR_HOST": "http://127.0.0.1:PORT",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        },
        ("gcp_storage_emulator", "gcsfs"),
    ),
}


@pytest.fixture(params=SERVERS)
def bucket(request, monkeypatch):
    """URL of an empty bucket, its filesystem, and the environment that leads to its server."""
    command, variables, needed = SERVERS[request.param]
    port = str(free_port())
    leads = {name: value.replace("PORT", port) for name, value in variables.items()}
    for name, value in leads.items():
        monkeypatch.setenv(name, value)
    for module in needed:
        pytest.importorskip(module)
    command = [sys.executable, *(word.replace("PORT", port) for word in command)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, **quiet)
    try:
        await_answer(f"http://127.0.0.1:{port}/", server)
        options = {"skip_instance_cache": True, "use_listings_cache": False}
        filesystem = fsspec.filesystem(request.param, **options)
        filesystem.mkdir("bucket")
        yield f"{request.param}://bucket", filesystem, leads
    finally:
        server.kill()
        server.wait()


def await_answer(url, process):
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(url):
            return
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError(f"no answer of {url}")


@pytest.fixture
def machine(environment, cache, bucket, tmp_path):
    """Starts a command on one of several machines, which share what XLA compiles, and no more."""
    started = []

    def start(name, command):
        own = {"JAXCOLOR_CACHE": str(tmp_path / name)}
        own |= {"JAX_COMPILATION_CACHE_DIR": str(cache / "xla")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
        started.append(subprocess.Popen(command, env=environment | bucket[2] | own, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def newest_checkpoint(filesystem, url):
    """The step of the newest checkpoint in a bucket, and its largest file."""
    files = filesystem.find(f"{url}/checkpoints", detail=True)
    steps = {path: int(path.split("/checkpoints/")[1].split("/")[0]) for path in files}
    newest = [path for path in files if steps[path] == max(steps.values())]
    return max(steps.values()), max(newest, key=lambda path: files[path]["size"])


def test_stopped_damaged_and_gone_on_elsewhere_it_ends_as_on_a_disk(
    bucket, machine, pictures, tmp_path
):
    url, filesystem, _ = bucket
    filesystem.put(str(pictures), f"{url}/pairs", recursive=True)
    sizes = [f"--config.{key}" for key in ("data.image_size=32", "augment.load_size=36")]
    words = ["--config=configs/pix2pix.py", f"--config.data.path={url}/pairs", *sizes]
    prepare = [sys.executable, "-m", "jaxcolor", "prepare", *words, f"--out={url}/cache"]
    finish(machine("a", prepare))

    train = command_line(f"{url}/run", {"data.path": f"{url}/cache"} | RUN)
    run = machine("a", train)
    wait_for_step(tmp_path / "a" / "jaxcolor" / "workdirs" / local_name(f"{url}/run"), 8, run)
    run.terminate()
    finish(run, status=75)

    step, path = newest_checkpoint(filesystem, f"{url}/run")
    content = bytearray(filesystem.cat_file(path))
    content[len(content) // 2] ^= 1
    filesystem.pipe_file(path, bytes(content))
    output, _ = finish(machine("b", train))
    good = int(re.search(r"^resuming .* at step (\d+) of 36$", output, re.M)[1])
    assert 0 < good < step
    assert f"checkpoint {step} is damaged" in output
    assert f"the last good one is {good}\n" in output

    local = command_line(tmp_path / "local", {"data.path": pictures} | RUN)
    finish(machine("a", local))
    filesystem.get(f"{url}/run", str(tmp_path / "copy"), recursive=True)
    found, wanted = stored_state(tmp_path / "copy"), stored_state(tmp_path / "local")
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)

    program = [sys.executable, "-m", "jaxcolor", "colorize", str(pictures / "val")]
    colour = [*program, f"--model={url}/run", f"--out={tmp_path / 'coloured'}"]
    output, _ = finish(machine("c", colour))
    assert "5 of 5 pictures coloured" in output
