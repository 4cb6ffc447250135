"""Hosts that train together: how they meet, agree, tell one another of errors, and part.

The engine is JAX's own. `jax.distributed` lets the processes meet, one on each host as a rule; its
coordination service, in the process of host 0, keeps the few keys by which they talk here, and its
heartbeats end all of them when one is killed. A process alone has nothing of this.
"""

import contextlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

# The client of the coordination service has no public name; Orbax takes it from here, too.
from jax._src import clusters, distributed

from jaxcolor.errors import ConfigError, HostError, UserError

HEARTBEAT_SECONDS = 30  # without a sign of life after which a host counts as dead
POLL_SECONDS = 0.5  # between two looks for the others' errors
LEAVE_SECONDS = 30  # that host 0 waits for the others, which die with its coordination service
_DAY = 86_400_000  # milliseconds; whether a host still lives is for the heartbeats to say
_ERROR, _LEFT, _SAID = "jaxcolor/error", "jaxcolor/left/", "jaxcolor/said/"
_rounds = itertools.count()
_last_words = threading.Lock()


class AgreedStop(Exception):
    """Raised by all hosts after the same step: the end of a run, and no error."""


class Address(NamedTuple):
    """Where the hosts meet.

    Attributes:
      coordinator: "address:port" of host 0, or None to let JAX find a cluster, if there is one.
      num_processes: how many there are.
      process_id: which of them this is, from 0.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    def check(self) -> None:
        """Raises ConfigError if the three do not make an address."""
        if self == Address():
            return
        if None in self:
            raise ConfigError("give --coordinator, --num_processes and --process_id together")
        if not self.coordinator.rpartition(":")[2].isdecimal() or ":" not in self.coordinator:
            raise ConfigError(f"--coordinator {self.coordinator!r} must be ADDRESS:PORT of host 0")
        if not 0 <= self.process_id < self.num_processes:
            raise ConfigError(
                f"--process_id {self.process_id} must be from 0 to --num_processes "
                f"{self.num_processes} less 1"
            )


def index() -> int:
    """Which host this is, from 0."""
    return distributed.global_state.process_id


def count() -> int:
    """How many hosts train together; 1 alone."""
    return distributed.global_state.num_processes if _client() is not None else 1


def is_first() -> bool:
    """Whether this host writes the logs, samples and tables."""
    return index() == 0


@contextlib.contextmanager
def together(address: Address) -> Iterator[None]:
    """A context in which this process trains together with others, if there are any.

    What is printed inside appears on host 0 alone; errors appear on each. To be entered before
    anything is asked of a device. After an error inside, end with `leave`.

    Args:
      address: where they meet; by default JAX looks for a cluster (Cloud TPU, SLURM, Open MPI,
        Kubernetes) in the environment.

    Raises:
      ConfigError: no such address.
      HostError: the others did not come.
    """
    address.check()
    if not (address.num_processes > 1 if address.coordinator else _is_in_cluster()):
        yield
        return
    _meet(address)
    watch = _Watch()
    watch.start()
    with contextlib.nullcontext() if is_first() else _silence():
        try:
            with errors_told():
                yield
        except AgreedStop:
            _part(watch)
            raise
        _part(watch)


def gather(value: str) -> list[str]:
    """What all hosts say, in their order; waits for them. All must call it the same times."""
    if count() == 1:
        return [value]
    client, round_ = _client(), f"{_SAID}{next(_rounds)}"
    client.key_value_set(f"{round_}/{index():06}", value)
    client.wait_at_barrier(round_, _DAY)
    return [said for _, said in sorted(client.key_value_dir_get(round_))]


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """A context whose errors end all hosts, with this one's message; alone it does nothing.

    Use it inside of whatever waits for other hosts, or for long, when it is left.

    Raises:
      HostError: instead of what JAX raises when another host does not answer any more.
    """
    try:
        yield
    except BaseException as error:
        if count() == 1 or isinstance(error, AgreedStop):
            raise
        if isinstance(error, jax.errors.JaxRuntimeError) and not _is_out_of_memory(error):
            told = HostError(
                "computing together failed, maybe because another host has died "
                f"({_first_line(error)}): the same command on all goes on from the last checkpoint"
            )
            _tell(told)
            raise told from error
        _tell(error)
        raise


def leave(status: int) -> None:
    """Ends this process with a status at once, unless it is alone or has parted from the others.

    After an error there may be threads that wait for hosts which have stopped; Python would wait
    for these threads.
    """
    if _client() is None:
        return
    for stream in (sys.__stdout__, sys.__stderr__):
        stream.flush()
    with contextlib.suppress(Exception):  # of a service that has gone
        _client().key_value_set(f"{_LEFT}{index()}", "")
        until = time.monotonic() + LEAVE_SECONDS
        while is_first() and time.monotonic() < until:
            if len(_client().key_value_dir_get(_LEFT)) == count():
                break
            time.sleep(0.1)
    os._exit(status)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """A context in which nothing is printed, not by the libraries either; errors are."""
    sys.stdout.flush()
    printed, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(printed, 1)
        os.close(printed)
        os.close(nowhere)


def _client() -> Any:
    return distributed.global_state.client


def _is_in_cluster() -> bool:
    """Whether JAX finds a cluster of more than one process."""
    for kind in clusters.ClusterEnv._cluster_types:
        if kind.opt_in_only_method:
            continue
        # Any pod is on Kubernetes; only those of an indexed job have a number among others.
        if kind.__name__ == "K8sCluster" and "JOB_COMPLETION_INDEX" not in os.environ:
            continue
        if kind.is_env_present():
            return kind.get_process_count() > 1
    return False


def _meet(address: Address) -> None:
    try:
        jax.distributed.initialize(
            *address,
            # One process takes all devices of its host, unless JAX finds that there are more.
            cluster_detection_method="deactivate" if address.coordinator else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except Exception as error:  # of the network, of the cluster's environment
        where = f" at {address.coordinator}" if address.coordinator else ""
        raise HostError(f"the hosts did not meet{where}: {_first_line(error)}") from error


def _part(watch: "_Watch") -> None:
    """Waits until all are done, and lets go of them."""
    gather("done")
    watch.stop()
    jax.distributed.shutdown()


class _Watch(threading.Thread):
    """Looks for errors of the other hosts; this one may hang in a computation without them."""

    def __init__(self):
        super().__init__(name="jaxcolor_hosts", daemon=True)
        self._is_over = threading.Event()

    def run(self):
        while not self._is_over.wait(POLL_SECONDS):
            told = _told()
            if told is not None and told[0] != index():
                _stop_for(*told)

    def stop(self):
        self._is_over.set()
        self.join()


def _told() -> tuple[int, str] | None:
    """The host and the message of the first error; None while there is none."""
    try:
        return tuple(json.loads(_client().key_value_try_get(_ERROR)))
    except jax.errors.JaxRuntimeError:  # not there; or the service has gone, and JAX ends this
        return None


def _tell(error: BaseException) -> None:
    """Tells the others of an error of this host; ends it with another's if that was first."""
    name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    told = json.dumps([index(), name + _first_line(error)])
    try:
        _client().key_value_set(_ERROR, told)
    except jax.errors.JaxRuntimeError:  # there is one already, or no service any more
        first = _told()
        if first is not None and first[0] != index():
            _stop_for(*first)


def _stop_for(host: int, message: str) -> None:
    _last_words.acquire()  # for good: one thread speaks, the other waits for the end
    sys.__stderr__.write(f"error: host {host}: {message}\n")
    leave(1)


def _first_line(error: BaseException) -> str:
    lines = str(error).split("\n")
    return " ".join(lines[0].split())[:500] or type(error).__name__


def _is_out_of_memory(error: Exception) -> bool:
    return "resource_exhausted" in str(error).lower() or "out of memory" in str(error).lower()
