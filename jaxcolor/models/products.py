"""Matrix products in the forms that XLA:CPU multiplies fastest."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import lax

# How Linux names them on x86 and on Arm.
_BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}


@functools.cache
def has_bfloat16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bfloat16 itself; true where the system does not tell.

    Without, XLA:CPU widens both operands before it multiplies them in float32: slower than float32
    from the start (104 against 170 GFLOP/s on two cores of an AMD Zen 3).
    """
    try:
        pairs = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
    except OSError:
        return True
    flags = [value.split() for name, _, value in pairs if name.strip() in ("flags", "Features")]
    return not flags or not _BFLOAT16_INSTRUCTIONS.isdisjoint(flags[0])


def multiply(a: jax.Array, b: jax.Array, contract: tuple[int, int]) -> jax.Array:
    """The product over one axis of each, for every index of the first axis if there are three.

    Summed in float32 or wider. Operands of more axes XLA:CPU would transpose in memory first.

    Args:
      a: [rows, columns] or [count, rows, columns].
      b: as many axes.
      contract: the axis of `a` and of `b` to sum over.
    """
    batch = ((0,), (0,)) if a.ndim == 3 else ((), ())
    axes = (((contract[0],), (contract[1],)), batch)
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return lax.dot_general(a, b, axes, preferred_element_type=wide)


def multiply_columns(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a` transposed times `b`, for operands as in `multiply`.

    XLA:CPU has fast bfloat16 products only for an `a` that lies transposed in memory. It undoes a
    transposition of the whole, but not one in two pieces: worth a factor of two.
    """
    rows, columns = a.ndim - 2, a.ndim - 1
    if a.dtype != jnp.bfloat16 or a.shape[columns] < 2:
        return multiply(a, b, (rows, rows))
    pieces = jnp.split(a, [a.shape[columns] // 2], columns)
    turned = jnp.concatenate([piece.swapaxes(rows, columns) for piece in pieces], rows)
    return multiply(turned, b, (columns, rows))


def sum_of_products(a: jax.Array, b: jax.Array) -> jax.Array:
    """The sum of a[i] @ b[i].T over i: one after the other, as slices would be copied.

    Args:
      a: [count, rows, features].
      b: [count, columns, features].
    """

    def add(total, factors):
        return total + multiply(*factors, (1, 1)), None

    total = jax.eval_shape(lambda: multiply(a[0], b[0], (1, 1)))
    return lax.scan(add, jnp.zeros(total.shape, total.dtype), (a, b))[0]
