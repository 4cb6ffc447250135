"""python -m benchmarks.memory_probe REQUEST: trains a few steps, prints the peaks in bytes as JSON.

A process of one contender: nothing is imported that it does not need.
"""

import contextlib
import ctypes
import json
import resource
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = 3
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> None:
    """Answers the request of the command line."""
    run, device_peak, reset, program = prepare(json.loads(sys.argv[1]))
    for _ in range(STEPS):
        run()
    process = device_peak() or resident_peak()
    cleared = reset() or clear_resident_peak()
    for _ in range(STEPS):
        run()
    training = device_peak() or resident_peak()
    process = max(process, training)
    training = training if cleared else None
    print(json.dumps({"training": training, "process": process, "program": program}))


def prepare(request: dict[str, Any]) -> tuple[Callable, Callable, Callable, dict[str, int]]:
    """What a contender is measured by.

    Returns:
      One step; the device's peak, 0 on a CPU; what starts that peak anew; and what XLA's program
      of a step needs, as `program_bytes` says, empty of PyTorch.
    """
    from benchmarks.pictures import draw_batch

    batch = draw_batch(request["image_size"], request["batch_size"])
    options = Namespace(**{name: request[name] for name in ("image_size", "base_width")})
    if request["family"] == "PyTorch":
        return prepare_pytorch(request, vars(options), batch)
    import jax

    from benchmarks import train_step

    ours = request["family"] == "jaxcolor"
    build = train_step.compile_ours if ours else train_step.compile_naive
    compiled, *arguments = build(options, request["update"], batch, request["variant"])

    def device_peak():
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)

    run = train_step.repeat(compiled, *arguments)
    return run, device_peak, device_peak, program_bytes(compiled)


def program_bytes(compiled: Any) -> dict[str, int]:
    """What a program of XLA needs, in bytes by part, as its compiler planned it; empty if unknown.

    The "state and batch" are its arguments: parameters, Adam's moments, pictures; a new state
    takes the place of the old one. "Temporaries" are gradients, activations and what the
    convolutions lay out anew, "results" what does not fit an argument's place.
    """
    plan = compiled.memory_analysis()
    if plan is None:
        return {}
    return {
        "state and batch": plan.argument_size_in_bytes,
        "temporaries": plan.temp_size_in_bytes,
        "results": plan.output_size_in_bytes - plan.alias_size_in_bytes,
    }


def prepare_pytorch(
    request: dict, sizes: dict, batch: dict
) -> tuple[Callable, Callable, Callable, dict[str, int]]:
    """The same of PyTorch, without jax in the process."""
    import torch

    from benchmarks.peers.pytorch_pix2pix import Pix2Pix

    peer = Pix2Pix(**sizes, update=request["update"], **request["settings"])
    placed = {name: peer.place(pictures) for name, pictures in batch.items()}

    def run():
        peer.train_step(placed)
        peer.wait()

    def device_peak():
        return torch.cuda.max_memory_allocated() if peer.device.type == "cuda" else 0

    def reset():
        if peer.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        return peer.device.type == "cuda"

    return run, device_peak, reset, {}


def resident_peak() -> int:
    """The most memory this process held at once, in bytes.

    Not from getrusage where it can be had otherwise: a process inherits that from its parent.
    """
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def clear_resident_peak() -> bool:
    """Starts `resident_peak` anew; whether the system can.

    What a compiler has freed is given back first: glibc would keep it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
