"""A trained generator as one file that runs without this library: StableHLO or ONNX.

Both take conditions, float32 [batch, size, size, channels] in [-1, 1], of any batch, and give RGB
[batch, size, size, 3] in [-1, 1]; the weights are inside. There is no dropout in them, and one
picture never changes another's.

Such a file is a program: only one that is trusted may be read, see docs/security.md.
"""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxcolor import experiment
from jaxcolor.errors import UserError
from jaxcolor.trained import Trained

STABLEHLO = "model.stablehlo"
ONNX = "model.onnx"
PLATFORMS = ("cpu", "cuda", "tpu")
_SHOWN = 300  # characters of what a reader says, which may quote the file
Program = Callable[[np.ndarray], np.ndarray]


def write_stablehlo(path: Path, trained: Trained) -> None:
    """Writes the program as `jax.export` serialises it, for the platforms of PLATFORMS."""
    from jax import export

    (batch,) = export.symbolic_shape("batch")
    like = jax.ShapeDtypeStruct((batch, *_picture_shape(trained)), jnp.float32)
    exported = export.export(jax.jit(_portable(trained)), platforms=PLATFORMS)(like)
    path.write_bytes(exported.serialize())


def read_stablehlo(path: Path) -> Program:
    """The program in a file that is trusted, run by JAX.

    Raises:
      UserError: there is none in it.
    """
    from jax import export

    try:
        exported = export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # flatbuffers meets damage with errors of any kind
        raise _no_program(path, error) from error
    call = jax.jit(exported.call)
    return lambda condition: np.asarray(call(condition))


def check_onnx() -> None:
    """Raises UserError unless the packages that write and check ONNX are installed."""
    needed = ("jax2onnx", "onnxruntime")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise UserError(f'ONNX needs {" and ".join(missing)}: pip install -e ".[onnx]"')


def write_onnx(path: Path, trained: Trained) -> None:
    """Writes the program as ONNX.

    Raises:
      UserError: see `check_onnx`.
    """
    check_onnx()
    from jax2onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types that only its own constants have
        model = to_onnx(
            _portable(trained),
            inputs=[("batch", *_picture_shape(trained))],
            model_name="jaxcolor",
            return_mode="proto",
        )
    path.write_bytes(model.SerializeToString())


def read_onnx(path: Path) -> Program:
    """The program in a file that is trusted, run by onnxruntime on the CPU.

    Raises:
      UserError: there is none in it; see `check_onnx`.
    """
    check_onnx()
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds of errors
        raise _no_program(path, error) from error
    name = session.get_inputs()[0].name
    return lambda condition: session.run(None, {name: condition})[0]


def _no_program(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    return UserError(f"{path} holds no program that can be read: {reason}")


def _picture_shape(trained):
    return trained.image_size, trained.image_size, trained.condition_channels


def _portable(trained: Trained) -> Callable[[jax.Array], jax.Array]:
    """The generator as a function of conditions, in operations that every platform has."""
    config = trained.config
    values = config | {
        # The other lowerings are matrix products for the sake of CPUs, and look at the batch.
        "train": config["train"] | {"lowering": "native"},
        "evaluation": config.get("evaluation", {}) | {"dropout": False},
    }
    predict = experiment.rebuild(values).functions.predict
    return lambda condition: predict(trained.state, condition, jax.random.key(0))
