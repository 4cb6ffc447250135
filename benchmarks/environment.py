"""What a measurement depends on besides the code: machine, versions, commit, load."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import time
from typing import Any

import jax

ENVIRONMENT = (
    "GLIBC_TUNABLES",
    "OMP_WAIT_POLICY",
    "OMP_NUM_THREADS",
    "XLA_FLAGS",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
# Processor flags that decide how fast matrix products can be.
INSTRUCTIONS = {"avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16"}


def commit() -> str:
    """The checked-out commit, marked where files differ from it; "unknown" without git."""
    folder = pathlib.Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"


def count_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def describe_processor() -> str:
    """Model and what it has of INSTRUCTIONS, as far as the system tells."""
    path = pathlib.Path("/proc/cpuinfo")
    pairs = [line.split(":", 1) for line in path.read_text().splitlines()] if path.exists() else []
    facts = {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}
    flags = facts.get("flags", "").split()
    found = [name for flag, name in INSTRUCTIONS.items() if flag in flags]
    missing = [f"no {name}" for flag, name in INSTRUCTIONS.items() if flag not in flags]
    model = facts.get("model name") or platform.processor() or platform.machine()
    return f"{model} ({', '.join(found + missing)})" if flags else model


def machine() -> str:
    """Processor, cores this process may use, and the accelerators, if any."""
    text = f"{describe_processor()}, {count_cores()} cores"
    devices = jax.devices()
    if devices[0].platform == "cpu":
        return text
    return f"{text}, {len(devices)} x {devices[0].device_kind}"


def describe_run() -> dict[str, Any]:
    """Machine, platform, cores, load, versions, commit and time."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "machine": machine(),
        "platform": jax.devices()[0].platform,
        "cores": count_cores(),
        "load_average": os.getloadavg(),
        "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
        "versions": versions,
        "commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
