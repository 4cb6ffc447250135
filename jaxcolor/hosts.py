"""Hosts that train together: how they meet, agree, tell one another of errors, and part.

The engine is JAX's own. `jax.distributed` lets the processes meet, one on each host as a rule; its
coordination service, in the process of host 0, keeps the few keys by which they talk here, and its
heartbeats tell when one is killed or hangs. A process alone has nothing of this.
"""

import contextlib
import faulthandler
import itertools
import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

import jax

# The client of the coordination service has no public name; Orbax takes it from here, too.
from jax._src import clusters, distributed

from jaxcolor.errors import ConfigError, HostError, UserError, is_out_of_memory

MEET_SECONDS = 300  # that a host waits for the others to start
HEARTBEAT_SECONDS = 30  # without a sign of life after which a host counts as dead
POLL_SECONDS = 5  # between two questions who is alive
LEAVE_SECONDS = 10  # that host 0 waits for the others, which die with its coordination service
GO_ON = "The same command on all hosts goes on from the last checkpoint"
DIED = f"died or does not answer. {GO_ON}"
_YEAR = 31_536_000_000  # milliseconds; whether a host still lives is for the heartbeats to say
_ERROR, _LEFT, _SAID = "jaxcolor/error", "jaxcolor/left/", "jaxcolor/said/"
_STATUS = re.compile("(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED): ")
_rounds = itertools.count()
_self = secrets.token_hex(4)  # tells this process from another that takes its number
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
        port = self.coordinator.rpartition(":")[2]
        if ":" not in self.coordinator or not (port.isdecimal() and 0 < int(port) < 2**16):
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
    anything is asked of a device; at last, end with `leave`.

    Args:
      address: where they meet; by default JAX looks for a cluster (Cloud TPU, SLURM, Open MPI,
        Kubernetes) in the environment.

    Raises:
      ConfigError: no such address, or one that does not fit the other hosts'.
      HostError: the others did not come.
    """
    address.check()
    if not (address.num_processes > 1 if address.coordinator else _is_in_cluster()):
        yield
        return
    faulthandler.disable()  # JAX aborts when host 0 has died, and says why above these stacks
    _meet(address)
    is_over = threading.Event()
    for watch in (_watch_for_errors, _watch_for_deaths):
        threading.Thread(target=watch, args=[is_over], daemon=True).start()
    with contextlib.nullcontext() if is_first() else _silence(sys.stdout), errors_told():
        try:
            _call_the_roll()
            yield
        except AgreedStop:
            gather("stopped")
            is_over.set()
            raise
        gather("done")
        is_over.set()


def gather(value: str) -> list[str]:
    """What all hosts say, in their order; waits for them. All must call it the same times.

    Raises:
      ConfigError: another process has this one's number.
    """
    if count() == 1:
        return [value]
    client, round_ = _client(), f"{_SAID}{next(_rounds)}"
    try:
        client.key_value_set(f"{round_}/{index():06}", value)
    except jax.errors.JaxRuntimeError as error:
        if "ALREADY_EXISTS" not in str(error):
            raise
        raise ConfigError(
            f"--process_id {index()} is taken: give each host one of its own, and start all of "
            "them together"
        ) from None
    client.wait_at_barrier(round_, _YEAR)
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
        cause = _failure_together(error)
        if cause is None:
            _tell(error)
            raise
        told = HostError(
            f"computing together failed, maybe because another host died ({_first_line(cause)}). "
            f"{GO_ON}"
        )
        _tell(told)
        raise told from error


def end_all(error: Exception) -> None:
    """Ends all hosts, this one at once, with an error of this one; alone does nothing.

    For other threads than the main one, which may wait for hosts that wait for this one.
    """
    if count() == 1:
        return
    try:
        with errors_told():
            raise error
    except Exception as told:
        _end_with(f"error: {told}")


def leave(status: int) -> None:
    """Ends this process with a status at once, unless it is alone.

    There may be threads that wait for hosts which have stopped; Python would wait for the threads.
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
                time.sleep(1)  # the last of them may not have ended, and would be aborted
                break
            time.sleep(0.1)
    os._exit(status)


@contextlib.contextmanager
def _silence(stream: TextIO) -> Iterator[int]:
    """A context in which nothing appears on a stream, not of the libraries either.

    Its value is a file descriptor on which things still do.
    """
    stream.flush()
    number = stream.fileno()
    heard, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    try:
        yield heard
    finally:
        stream.flush()
        os.dup2(heard, number)
        os.close(heard)
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


def _call_the_roll() -> None:
    """Raises ConfigError unless all hosts count as many."""
    counts = gather(str(count()))
    if len({*counts}) > 1:
        raise ConfigError(f"all hosts must have the same --num_processes; they have {counts}")


def _check_port(address: Address) -> None:
    """Raises ConfigError if something listens where this host, the first, is to.

    gRPC would share the port with another run, or abort.
    """
    port = int(address.coordinator.rpartition(":")[2])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as of a run that just ended
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ConfigError(
                f"--coordinator {address.coordinator}: host 0 cannot listen on port {port} "
                f"({error.strerror}): choose another"
            ) from error


def _meet(address: Address) -> None:
    where = f" at {address.coordinator}" if address.coordinator else ""
    if not address.process_id:  # the first; or each one in a cluster, before it has a number
        print(f"waiting for the other hosts{where} ...", flush=True)
    # Else JAX would abort with its own stack trace when another host dies, with no word from here.
    jax.config.update("jax_enable_recoverability", True)
    if address.process_id == 0:
        _check_port(address)
    # Of host 0, which warns that this is experimental; others say why they abort.
    quiet = contextlib.nullcontext(2) if address.process_id else _silence(sys.__stderr__)
    with quiet as errors:
        patience = threading.Timer(MEET_SECONDS, _give_up, [where, errors])
        patience.daemon = True
        patience.start()
        try:
            jax.distributed.initialize(
                *address,
                # One process takes all devices of its host, unless JAX finds that there are more.
                cluster_detection_method="deactivate" if address.coordinator else None,
                initialization_timeout=2 * MEET_SECONDS,  # at whose end it aborts
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
        except Exception as error:  # of the network, of the cluster's environment
            distributed.global_state.client = None  # alone again: there is no one to tell
            raise HostError(f"the hosts did not meet{where}: {_first_line(error)}") from error
        finally:
            patience.cancel()


def _give_up(where: str, errors: int) -> None:
    line = f"error: the hosts did not meet{where} within {MEET_SECONDS} s: start all of them, "
    line += "each with the same --num_processes and a --process_id of its own\n"
    os.write(errors, line.encode())
    os._exit(1)


def _watch_for_errors(is_over: threading.Event) -> None:
    """Waits for an error of another host: this one may hang in a computation without it."""
    try:
        who, host, message = json.loads(_client().blocking_key_value_get(_ERROR, _YEAR))
    except jax.errors.JaxRuntimeError:  # there is no one to ask any more
        who, host, message = "", 0, DIED
    if who != _self and not is_over.is_set():
        _stop_for(host, message)


def _watch_for_deaths(is_over: threading.Event) -> None:
    """Asks who is alive, together with the other hosts' threads; the answer waits for them all."""
    hosts = [*range(count())]
    while not is_over.wait(POLL_SECONDS):
        try:
            dead = sorted(set(hosts) - set(_client().get_live_nodes(hosts)))
        except jax.errors.JaxRuntimeError:  # host 0 is dead, which the other watch has noticed
            return
        if dead and not is_over.is_set() and _told() is None:
            _stop_for(dead[0], DIED)


def _told() -> tuple[str, int, str] | None:
    """Which process had the first error, as which host, and what; None while there is none."""
    try:
        return tuple(json.loads(_client().key_value_try_get(_ERROR)))
    except jax.errors.JaxRuntimeError:  # not there; or the service has gone, and JAX ends this
        return None


def _tell(error: BaseException) -> None:
    """Tells the others of an error of this host; ends it with another's if that was first."""
    message = "stopped at once by Ctrl-C"
    if not isinstance(error, KeyboardInterrupt):
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        message = name + _first_line(error)
    told = json.dumps([_self, index(), message])
    try:
        _client().key_value_set(_ERROR, told)
    except jax.errors.JaxRuntimeError:  # there is one already, or no service any more
        first = _told()
        if first is not None and first[0] != _self:
            _stop_for(*first[1:])


def _stop_for(host: int, message: str) -> None:
    _end_with(f"error: host {host}: {message}")


def _end_with(line: str) -> None:
    _last_words.acquire()  # for good: one thread speaks, the others wait for the end
    sys.__stderr__.write(f"{line}\n")
    leave(1)


def _failure_together(error: BaseException | None) -> BaseException | None:
    """JAX's own error from which `error` comes, if any, unless it is one of memory."""
    while error is not None and not _is_of_runtime(error):
        error = error.__cause__
    return None if error is None or is_out_of_memory(error) else error


def _is_of_runtime(error: BaseException) -> bool:
    """Whether JAX's runtime raised an error, some of which it does as a ValueError."""
    is_status = isinstance(error, ValueError) and _STATUS.match(str(error))
    return isinstance(error, jax.errors.JaxRuntimeError) or bool(is_status)


def _first_line(error: BaseException) -> str:
    lines = str(error).split("\n")
    return " ".join(lines[0].split())[:500] or type(error).__name__
