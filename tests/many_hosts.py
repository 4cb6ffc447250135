"""Runs of the command as several hosts, which are processes of this machine."""

import socket
import subprocess

from conftest import ROOT, command_line

# By its heartbeat, since a computation failed, or of host 0, by JAX itself.
DEATH = (
    r"error: (host \d: died or does not answer\.|.*maybe because another host died)"
    r"|This most likely indicates that another task died"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


class Hosts:
    """Starts runs of the command by several processes each; kills what is left of them."""

    def __init__(self, environment, pictures):
        self._environment, self._pictures = environment, pictures
        self._started = []

    def start(self, workdir, *, hosts, devices, of_host=(), program="run.py", **overrides):
        """The processes of a run on `hosts` times `devices` simulated devices.

        Args:
          workdir: of the run.
          hosts: how many processes; one runs without any flag.
          devices: of each.
          of_host: {host: overrides of its own}.
          program: what runs the command, by its path in the checkout.
          overrides: of all, with "__" for ".".
        """
        # Optimised less, XLA compiles twice as fast.
        flags = f"--xla_force_host_platform_device_count={devices}"
        flags += " --xla_backend_optimization_level=0"
        environment = self._environment | {"XLA_FLAGS": flags}
        together = [f"--coordinator=localhost:{free_port()}", f"--num_processes={hosts}"]
        processes = []
        for host in range(hosts):
            own = overrides | dict(of_host).get(host, {})
            settings = {key.replace("__", "."): value for key, value in own.items()}
            more = [*together, f"--process_id={host}"] if hosts > 1 else []
            command = command_line(
                settings.pop("workdir", workdir), {"data.path": self._pictures} | settings, *more
            )
            command[1] = str(ROOT / program)
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
        self._started += processes
        return processes

    def close(self):
        for process in self._started:
            process.kill()
            process.communicate()


def finish(processes, status=0, seconds=300):
    """What each of the processes, which must end with `status`, printed: (output, errors)."""
    printed = [process.communicate(timeout=seconds) for process in processes]
    ended = [process.returncode for process in processes]
    assert ended == [status] * len(processes), f"status {ended}:\n{printed}"
    return printed
