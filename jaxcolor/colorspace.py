"""Value ranges of pictures and RGB <-> CIELAB <-> luma: their only home.

Files hold uint8, networks see [-1, 1]. L*a*b* is that of IEC 61966-2-1 sRGB under D65 and the
2 degree observer. Every function of this file has finite gradients, black, white and the joints
of its pieces included, and computes in float32 at least.
"""

import jax
import jax.numpy as jnp
import numpy as np

HALF_RANGE = 127.5
LUMA = (0.299, 0.587, 0.114)  # Rec. 601

# Rec. 709 primaries. Divided by its sum each row becomes a share of the white point: greys then
# have no chroma at all, where the rounded white 0.95047, 1, 1.08883 would leave a b of 0.005.
_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE_SHARES = _XYZ / _XYZ.sum(axis=1, keepdims=True)
_RGB_SHARES = np.linalg.inv(_WHITE_SHARES)
LIGHT = _WHITE_SHARES[1]  # shares of the channels' linear light in luminance Y, and so in L*

# Where CIELAB's cube root gives way to a straight line, and the line's slope (CIE 15:2004).
_KNEE = 6 / 29
_SLOPE = 1 / (3 * _KNEE**2)
_OFFSET = 4 / 29
_SRGB_KNEE, _LINEAR_KNEE = 0.04045, 0.0031308

# In linear light, 1 is white: how far outside of the cube rounding may carry a colour of its faces.
_ROUNDING = 1e-5
_HALVINGS = 12


def to_signed(images: jax.Array) -> jax.Array:
    """Images in [-1, 1]: uint8 becomes x / 127.5 - 1 in float32; floats pass unchanged."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    return images.astype(jnp.float32) / HALF_RANGE - 1


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images in 0..255, uint8, from floats in [-1, 1]: clipped, rounded to nearest."""
    return np.clip(np.rint((np.asarray(images) + 1) * HALF_RANGE), 0, 255).astype(np.uint8)


def luma(images: jax.Array) -> jax.Array:
    """Luma of Rec. 601, 0.299 R + 0.587 G + 0.114 B, [..., 1] in [-1, 1].

    Args:
      images: RGB [..., 3] in [-1, 1].
    """
    red, green, blue = _channels(images)
    # By differences from green a grey's luma is the grey itself, to the last bit.
    return (green + LUMA[0] * (red - green) + LUMA[2] * (blue - green))[..., None]


def rgb_to_lab(images: jax.Array) -> jax.Array:
    """CIELAB [..., 3]: L in 0..100, a in -87..99, b in -108..95; a = b = 0 exactly for greys.

    Args:
      images: RGB [..., 3] in [-1, 1].
    """
    linear = [_linear_light((channel + 1) / 2) for channel in _channels(images)]
    x, y, z = (_root(share) for share in _mix(linear, _WHITE_SHARES))
    return _stack(116 * y - 16, 500 * (x - y), 200 * (y - z))


def lab_to_rgb(lab: jax.Array) -> jax.Array:
    """RGB [..., 3] in [-1, 1]. Colours outside of sRGB are clipped channel by channel.

    Clipping changes their lightness and hue, and has no gradient: see `fit_chroma`.

    Args:
      lab: [..., 3], L in 0..100.
    """
    channels = [jnp.clip(channel, 0, 1) for channel in lab_to_linear(*_channels(lab))]
    return _stack(*(2 * srgb_signal(channel) - 1 for channel in channels))


def srgb_signal(linear: jax.Array) -> jax.Array:
    """The transfer function of sRGB: signal in [0, 1] of linear light in [0, 1]."""
    curved = 1.055 * _power(jnp.maximum(linear, _LINEAR_KNEE), 1 / 2.4) - 0.055
    return jnp.where(linear > _LINEAR_KNEE, curved, linear * 12.92)


def fit_chroma(lab: jax.Array) -> jax.Array:
    """Lab [..., 3] inside sRGB, lightness and hue kept: a and b scaled towards grey just enough.

    What is inside already passes unchanged. The gradient is that of the face of the cube that the
    colour lands on, so a chroma beyond it has none. L outside of 0..100, which no colour has, is
    kept and loses its chroma.

    Args:
      lab: [..., 3].
    """
    lightness, a, b = _channels(lab)
    scale = chroma_that_fits(lightness, a, b)
    return _stack(lightness, scale * a, scale * b)


def chroma_that_fits(lightness: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """The share of a and b that `fit_chroma` leaves, 0 to 1.

    Args:
      lightness: L, of any shape, as `a` and `b`.
      a: of CIELAB.
      b: of CIELAB.
    """
    inside = room(lightness, a, b) >= 0
    scale, slope = _find_surface(*map(jax.lax.stop_gradient, (lightness, a, b)))
    # Newton's step carries the gradient of the surface: d(scale) = -d(room) / (d room / d scale).
    left = room(lightness, scale * a, scale * b)
    scale = jnp.clip(scale - left / jnp.minimum(slope, -_ROUNDING), 0, 1)
    return jnp.where(inside, 1, scale)


def _find_surface(lightness, a, b):
    # The scale with no room left, by halving, within 1 / 2**12; and the slope of room there.
    def room_at(scale):
        return room(lightness, scale * a, scale * b)

    def halve(number, low):
        middle = low + 0.5 ** (number + 1)
        return jnp.where(room_at(middle) >= 0, middle, low)

    # Unrolled, XLA on a CPU would compute the same halvings again for each that follows.
    low = jax.lax.fori_loop(0, _HALVINGS, halve, jnp.zeros_like(lightness))
    width = 0.5**_HALVINGS
    return low, (room_at(low + width) - room_at(low)) / width


def room(lightness: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """Linear light between a colour and the nearest face of sRGB's cube; negative outside of it.

    Args:
      lightness: L in 0..100, of any shape, as `a` and `b`.
      a: of CIELAB.
      b: of CIELAB.
    """
    channels = lab_to_linear(lightness, a, b)
    rooms = [jnp.minimum(channel, 1 - channel) for channel in channels]
    return jnp.minimum(jnp.minimum(rooms[0], rooms[1]), rooms[2]) + _ROUNDING


def lab_to_linear(lightness: jax.Array, a: jax.Array, b: jax.Array) -> list[jax.Array]:
    """Linear light of red, green and blue, of white 1; not clipped.

    Args:
      lightness: L in 0..100, of any shape, as `a` and `b`.
      a: of CIELAB.
      b: of CIELAB.
    """
    y = (lightness + 16) / 116
    return _mix([_cube(root) for root in (y + a / 500, y, y - b / 200)], _RGB_SHARES)


def _mix(channels, shares):
    # Rows of shares sum to 1. By differences from the middle channel greys stay grey to the last
    # bit, and no matrix product rounds to bfloat16 or TF32 on an accelerator.
    first, middle, last = channels
    first, last = first - middle, last - middle
    return [middle + row[0] * first + row[2] * last for row in shares.tolist()]


def _channels(images):
    images = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    return images[..., 0], images[..., 1], images[..., 2]


def _stack(first, middle, last):
    # By choosing: what is fused into a concatenation is not vectorised on a CPU, 2 to 10 times as
    # slow.
    place = jnp.arange(3)
    first, middle, last = first[..., None], middle[..., None], last[..., None]
    return jnp.where(place == 0, first, jnp.where(place == 1, middle, last))


def _power(positive, exponent):
    # Several times as fast on a CPU as `**`, which XLA does not vectorise there.
    return jnp.exp(exponent * jnp.log(positive))


# Both branches of `where` have a gradient, and infinity times zero is NaN: powers are given only
# what lies beyond the joint.


def _linear_light(signal):
    curved = _power((jnp.maximum(signal, _SRGB_KNEE) + 0.055) / 1.055, 2.4)
    return jnp.where(signal > _SRGB_KNEE, curved, signal / 12.92)


def _root(share):
    curved = _power(jnp.maximum(share, _KNEE**3), 1 / 3)
    return jnp.where(share > _KNEE**3, curved, _SLOPE * share + _OFFSET)


def _cube(root):
    return jnp.where(root > _KNEE, root**3, (root - _OFFSET) / _SLOPE)
