"""What an instruction of a compiled program does: for which part of the step, and which kind."""

import re
from typing import NamedTuple

PHASES = (
    "generator forward",
    "generator backward",
    "discriminator forward",
    "discriminator backward",
    "optimizer",
    "averaging over devices",
    "rest",
)
KINDS = ("matrix products", "optimizer", "copies, pads, slices", "other")

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"(?:^|\s)([a-z][\w\-]*)\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_NAME = re.compile(r'op_name="([^"]*)"')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_PRODUCT = re.compile(r"gemm|matmul|dot|conv(?!ert)", re.IGNORECASE)
# Their instructions have events of their own.
CONTAINERS = {"while", "conditional", "call"}
_MOVES = {
    *("copy", "copy-start", "copy-done", "pad", "slice", "dynamic-slice", "dynamic-update-slice"),
    *("concatenate", "transpose", "reverse", "reshape", "bitcast", "broadcast", "convert"),
    *("tuple", "get-tuple-element", "parameter", "constant"),
}


class Instruction(NamedTuple):
    """An instruction: its opcode, all opcodes inside of it if it is a fusion, what it is for."""

    opcode: str
    inside: frozenset[str]
    phase: str
    kind: str


def read_module(text: str) -> dict[str, Instruction]:
    """Every instruction of a compiled module by name.

    Args:
      text: the module, as `jax.stages.Compiled.as_text` prints it.
    """
    rows, opcodes, computation = [], {}, ""
    for line in text.splitlines():
        if found := _INSTRUCTION.match(line):
            name, rest = found.groups()
            opcode = _OPCODE.search(rest)
            opcode = opcode[1] if opcode else ""
            if opcode == "custom-call" and _PRODUCT.search(_first(_TARGET, rest)):
                opcode = "convolution"
            opcodes.setdefault(computation, set()).add(opcode)
            rows.append((name, opcode, _first(_CALLED, rest), _first(_NAME, rest)))
        elif found := _COMPUTATION.match(line):
            computation = found[1]
    instructions = {}
    for name, opcode, called, op_name in rows:
        inside = frozenset(opcodes.get(called, ()) if opcode == "fusion" else ()) or {opcode}
        phase = phase_of(op_name)
        instructions[name] = Instruction(opcode, frozenset(inside), phase, _kind(inside, phase))
    return instructions


def _first(pattern: re.Pattern, text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def phase_of(op_name: str) -> str:
    """One of PHASES, by the scopes that the modules of `jaxcolor.training` name."""
    scopes = set(re.split(r"[/()]", op_name))
    if "optimizer" in scopes:
        return "optimizer"
    if "average" in scopes:
        return "averaging over devices"
    for network in ("generator", "discriminator"):
        if network in scopes:
            return f"{network} {'backward' if 'transpose(' in op_name else 'forward'}"
    return "rest"


def _kind(inside: frozenset[str], phase: str) -> str:
    if inside & {"dot", "convolution"}:
        return "matrix products"
    if phase == "optimizer":
        return "optimizer"
    return "copies, pads, slices" if inside <= _MOVES else "other"
