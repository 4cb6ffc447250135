"""Every lowering computes the written formula, and the same gradients as the native one."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from jaxcolor.models import conv_lowering
from jaxcolor.models.conv_lowering import convolve, transposed_convolve
from jaxcolor.models.products import has_bfloat16_instructions

FAST = [name for name in conv_lowering.LOWERINGS if name not in ("auto", "native")]
# Largest error allowed, as a fraction of the largest entry of the right answer. bfloat16 keeps 8
# bits of each operand, cotangent and result, each rounded at most once more than in the other one.
TOLERANCE = {"float32": 2e-6, "bfloat16": 2e-2, "float64": 1e-14}
# Winograd's transforms add and subtract numbers several times larger than their result.
WINOGRAD_FACTOR = {"float32": 5, "bfloat16": 1, "float64": 20}


@pytest.fixture(autouse=True, scope="module")
def every_way_on_any_machine():
    """Maps small enough for a test take the way of large ones; bfloat16 is multiplied as such."""
    with (
        mock.patch.object(conv_lowering, "_FEWEST_WINOGRAD_PIXELS", 1),
        mock.patch.object(conv_lowering, "has_bfloat16_instructions", return_value=True),
    ):
        yield


def random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(actual, expected, dtype, what, lowering="gemm"):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, what
    error = np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)
    allowed = TOLERANCE[dtype] * (WINOGRAD_FACTOR[dtype] if lowering in ("winograd", "auto") else 1)
    assert error <= allowed, f"{what}: {error:.2e} > {allowed:.0e}"


def convolve_by_formula(x, kernel, stride, padding):
    """y[p] = sum over k of x[stride p + k - padding] kernel[k]."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = kernel.shape[:2]
    height, width = (x.shape[1] - rows) // stride + 1, (x.shape[2] - columns) // stride + 1
    y = np.zeros((x.shape[0], height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + rows, j * stride : j * stride + columns]
            y[:, i, j] = np.einsum("nklc,klco->no", window, kernel)
    return y


def torch_conv_transpose_by_formula(x, kernel):
    """ConvTranspose2d(in, out, 4, 2, 1), kernel as [4, 4, in, out]: y[2 i - 1 + k] += x[i] w[k]."""
    batch, height, width, _ = x.shape
    y = np.zeros((batch, 2 * height + 2, 2 * width + 2, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            window = np.einsum("nc,klco->nklo", x[:, i, j], kernel)
            y[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += window
    return y[:, 1:-1, 1:-1]


@pytest.mark.parametrize("lowering", conv_lowering.LOWERINGS)
@pytest.mark.parametrize(
    ("size", "stride", "padding", "height", "width"),
    [(4, 2, 1, 8, 12), (4, 2, 1, 7, 9), (4, 1, 1, 6, 5), (3, 2, 1, 7, 8), (1, 1, 0, 3, 2)],
)
def test_convolve_is_the_written_formula(lowering, size, stride, padding, height, width):
    x, kernel = random(0, 2, height, width, 3), random(1, size, size, 3, 20)
    y = convolve(x, kernel, stride=stride, padding=padding, lowering=lowering)
    assert_close(y, convolve_by_formula(x, kernel, stride, padding), "float32", "y", lowering)


@pytest.mark.parametrize("lowering", conv_lowering.LOWERINGS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 5), (8, 4)])
def test_transposed_convolve_is_that_of_torch_with_the_kernel_turned(lowering, height, width):
    x, kernel = random(0, 2, height, width, 3), random(1, 4, 4, 3, 5)
    y = transposed_convolve(x, kernel, lowering=lowering)
    assert_close(
        y, torch_conv_transpose_by_formula(x, kernel[::-1, ::-1]), "float32", "y", lowering
    )


def compare_with_native(operation, x, kernel, dtype, compute_dtype, lowering):
    """Holds value and both gradients of `lowering` to those of native."""

    @functools.partial(jax.jit, static_argnums=0)
    def run(name, x, kernel, seed):
        y, pull = jax.vjp(
            lambda x, k: operation(x, k, compute_dtype=compute_dtype, lowering=name), x, kernel
        )
        dy = jax.random.normal(jax.random.key(seed), y.shape, jnp.float32)
        return y, *pull(dy.astype(y.dtype))

    actual, expected = (run(name, x, kernel, 7) for name in (lowering, "native"))
    assert actual[1].dtype == x.dtype
    assert actual[2].dtype == kernel.dtype
    for what, a, e in zip(("y", "dx", "dkernel"), actual, expected, strict=True):
        assert_close(a, e, dtype, f"{what} of {x.shape} by {kernel.shape}", lowering)


sizes = st.integers(1, 9)
channels = st.sampled_from([1, 3, 8])
# On either side of every threshold: fewest outputs, and more or fewer outputs than pixels.
outputs = st.sampled_from([1, 3, 16, 50])
dtypes = st.sampled_from(["float32", "bfloat16"])


@pytest.mark.parametrize("lowering", FAST)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 3), sizes, sizes, channels),
    out=outputs,
    size=st.sampled_from([1, 3, 4]),
    stride=st.sampled_from([1, 2]),
    padding=st.integers(0, 2),
    dtype=dtypes,
)
@example(shape=(1, 5, 4, 3), out=16, size=4, stride=2, padding=1, dtype="float32")
@example(shape=(2, 9, 8, 3), out=16, size=4, stride=2, padding=1, dtype="float32")
@example(shape=(1, 3, 4, 3), out=16, size=4, stride=1, padding=1, dtype="float32")
@example(shape=(2, 9, 8, 3), out=16, size=4, stride=2, padding=1, dtype="bfloat16")
@example(shape=(1, 31, 30, 8), out=16, size=4, stride=1, padding=1, dtype="float32")
@example(shape=(1, 63, 66, 8), out=16, size=4, stride=2, padding=1, dtype="float32")
def test_convolve_agrees_with_native(lowering, shape, out, size, stride, padding, dtype):
    batch, height, width, features = shape
    height, width = (max(n, size - 2 * padding) for n in (height, width))
    x = jnp.asarray(random(0, batch, height, width, features), dtype)
    operation = functools.partial(convolve, stride=stride, padding=padding)
    kernel = jnp.asarray(random(1, size, size, features, out))
    compare_with_native(operation, x, kernel, dtype, dtype, lowering)


@pytest.mark.parametrize("lowering", FAST)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(shape=st.tuples(st.integers(1, 3), sizes, sizes, channels), out=outputs, dtype=dtypes)
@example(shape=(1, 2, 3, 3), out=16, dtype="float32")
@example(shape=(2, 4, 3, 3), out=16, dtype="float32")
def test_transposed_convolve_agrees_with_native(lowering, shape, out, dtype):
    x = jnp.asarray(random(0, *shape), dtype)
    kernel = jnp.asarray(random(1, 4, 4, shape[3], out))
    compare_with_native(transposed_convolve, x, kernel, dtype, dtype, lowering)


@pytest.mark.parametrize("lowering", ["gemm"])  # winograd rounds sums of its operands
@pytest.mark.parametrize("side", [2, 12])
@pytest.mark.parametrize("name", ["convolve", "transposed_convolve"])
def test_bfloat16_products_are_summed_in_float32(lowering, name, side):
    operation = transposed_convolve
    if name == "convolve":
        operation = functools.partial(convolve, stride=2, padding=1)
    x, kernel = (
        jnp.asarray(a, jnp.bfloat16).astype(jnp.float32)
        for a in (random(0, 2, side, side, 3), random(1, 4, 4, 3, 16))
    )

    def kernel_gradient(dtype):
        """For a cotangent which, like the operands, loses nothing in bfloat16."""
        f = functools.partial(operation, x, compute_dtype=dtype, lowering=lowering)
        y, pull = jax.vjp(f, kernel)
        dy = jnp.asarray(random(2, *y.shape), jnp.bfloat16)
        return pull(dy.astype(y.dtype))[0]

    gradients = (kernel_gradient(dtype) for dtype in (jnp.bfloat16, jnp.float32))
    assert_close(*gradients, "float32", "dkernel")


@pytest.mark.parametrize("lowering", FAST)
@pytest.mark.parametrize("able", [True, False])
def test_operands_are_rounded_only_where_the_processor_gains_by_it(lowering, able):
    x, kernel = random(0, 2, 12, 12, 3), random(1, 4, 4, 3, 16)
    operation = functools.partial(convolve, x, kernel, stride=2, padding=1)
    with mock.patch.object(conv_lowering, "has_bfloat16_instructions", return_value=able):
        y = operation(compute_dtype=jnp.bfloat16, lowering=lowering)
    right = operation(compute_dtype=jnp.float32, lowering="native")
    error = np.abs(y - right).max() / np.abs(right).max()
    assert (error > 1e-4) == able


def test_instructions_are_read_as_linux_lists_them(tmp_path):
    found = {}
    for name, text in {
        "with": "processor : 0\nflags\t\t: fpu avx512f avx512_bf16\n",
        "without": "processor : 0\nflags\t\t: fpu avx2\n",
        "arm": "Features : fp asimd bf16\n",
        "unknown": "processor : 0\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        found[name] = has_bfloat16_instructions(path)
    found["missing"] = has_bfloat16_instructions(tmp_path / "none")
    assert found == {"with": True, "without": False, "arm": True, "unknown": True, "missing": True}


@pytest.mark.parametrize("lowering", FAST)
def test_float64_is_exact(lowering):
    with jax.enable_x64(True):
        x = jnp.asarray(random(0, 2, 7, 6, 3), jnp.float64)
        kernel = jnp.asarray(random(1, 4, 4, 3, 20), jnp.float64)
        for stride in (1, 2):
            operation = functools.partial(convolve, stride=stride, padding=1)
            compare_with_native(operation, x, kernel, "float64", "float64", lowering)
        compare_with_native(transposed_convolve, x, kernel, "float64", "float64", lowering)


@pytest.mark.parametrize("lowering", conv_lowering.LOWERINGS)
def test_two_devices_compute_what_one_does(lowering):
    if jax.device_count() < 2:
        pytest.skip("one device")

    def loss(x, down, up):
        y = convolve(x, down, stride=2, padding=1, lowering=lowering)
        return jnp.mean(transposed_convolve(y, up, lowering=lowering) ** 2)

    def gradients(x, down, up):
        return jax.lax.pmean(jax.grad(loss, (1, 2))(x, down, up), "data")

    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    sharded = jax.shard_map(
        gradients,
        mesh=mesh,
        in_specs=(PartitionSpec("data"), PartitionSpec(), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    operands = random(0, 4, 8, 8, 3), random(1, 4, 4, 3, 16), random(2, 4, 4, 16, 5)
    alone = jax.jit(jax.grad(loss, (1, 2)))(*operands)
    for actual, expected in zip(jax.jit(sharded)(*operands), alone, strict=True):
        assert_close(actual, expected, "float32", "gradient")


def dilations(operation, x, kernel):
    """Dilations of the convolutions in the value and both gradients of `operation`."""
    loss = jax.grad(lambda x, kernel: operation(x, kernel).sum(), (0, 1))
    lines = str(jax.make_jaxpr(loss)(x, kernel)).splitlines()
    return {line.strip() for line in lines if "hs_dilation" in line} - {
        "lhs_dilation=(1, 1)",
        "rhs_dilation=(1, 1)",
    }


@pytest.mark.parametrize("side", [4, 16])
@pytest.mark.parametrize(
    "operation",
    [functools.partial(convolve, stride=2, padding=1), transposed_convolve],
    ids=["convolve", "transposed_convolve"],
)
def test_auto_dilates_nothing_on_a_cpu(operation, side):
    x, kernel = jnp.ones((1, side, side, 3)), jnp.ones((4, 4, 3, 16))
    assert dilations(functools.partial(operation, lowering="native"), x, kernel)
    assert not dilations(operation, x, kernel), "slow on a CPU: see the module's docstring"


def test_an_unknown_lowering_is_named():
    with pytest.raises(ValueError, match="'fft' is not one of"):
        convolve(
            jnp.ones((1, 4, 4, 1)), jnp.ones((4, 4, 1, 1)), stride=2, padding=1, lowering="fft"
        )


def test_a_transposed_kernel_that_is_not_4x4_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\); transposed_convolve needs \(4, 4\)"):
        transposed_convolve(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)))
