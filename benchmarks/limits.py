"""What the device can do at most: matrix products, and moving bytes, as XLA runs them."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.harness import LIMIT, Contender
from jaxcolor.models.products import has_bfloat16_instructions

# Rows, inner, columns. An accelerator needs larger ones to be busy.
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 1024, 512))
ACCELERATOR_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192))
TRIAD_SIZE = 32 * 1024 * 1024


def multiplies(dtype: str) -> bool:
    """Whether the device has instructions for products of this dtype."""
    on_cpu = jax.default_backend() == "cpu"
    return dtype != "bfloat16" or not on_cpu or has_bfloat16_instructions()


def matrix_products(dtypes: list[str]) -> list[Contender]:
    """Products of several shapes in every dtype, summed in float32.

    Where the device would widen its operands, as our layers do there, they are float32.
    """
    shapes = SHAPES if jax.default_backend() == "cpu" else ACCELERATOR_SHAPES
    return [
        Contender(
            LIMIT,
            f"{dtype} {'x'.join(map(str, shape))}",
            functools.partial(_prepare_product, shape, dtype if multiplies(dtype) else "float32"),
            flops=2.0 * shape[0] * shape[1] * shape[2],
        )
        for dtype in dtypes
        for shape in shapes
    ]


def _prepare_product(shape: tuple[int, int, int], dtype: str) -> Callable[[], None]:
    rows, inner, columns = shape
    a, b = jnp.ones((rows, inner), dtype), jnp.ones((inner, columns), dtype)
    multiply = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
    compiled = multiply.lower(a, b).compile()
    return lambda: jax.block_until_ready(compiled(a, b))


def triad(size: int = TRIAD_SIZE) -> tuple[Contender, int]:
    """Adds a * b to c in place, float32 [size] each; and the bytes that this reads and writes."""

    def prepare():
        a, b, c = (jnp.full((size,), value, jnp.float32) for value in (1, 2, 3))
        add = jax.jit(lambda c, a, b: a * b + c, donate_argnums=0).lower(c, a, b).compile()
        held = [c]

        def run():
            held[0] = jax.block_until_ready(add(held[0], a, b))

        return run

    return Contender(LIMIT, "float32 triad", prepare), 4 * 4 * size
