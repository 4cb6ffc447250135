"""Colour of a picture, and how far it is from the truth, picture by picture.

What takes Lab takes it as `colorspace.rgb_to_lab` gives it, [batch, height, width, 3].
"""

import jax
import jax.numpy as jnp
import numpy as np

# Thresholds of the ab-error curve: 0, 1, ... 150.
AB_THRESHOLDS = 151

# Hues of L*a*b* in degrees that count as brown and yellow. sRGB 112, 66, 20 (sepia) lies at 65,
# sienna at 51, saddle brown at 57, sandy brown at 64, tan at 78, the usual sepia filter at 85, gold
# at 91; just outside lie red and tomato (40, 39), olive and pure yellow (103), and grass (118).
SEPIA_HUES = (45.0, 95.0)

# Bins of the histograms of L, a and b. Those of a and b have grey, 0, in the middle of one, so
# that a grey with noise stays in one bin.
L_EDGES = np.linspace(0, 100, 21)
AB_EDGES = np.linspace(-112.5, 112.5, 46)


def lab_mae_by_picture(lab: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference over pixels and L, a, b, [batch], in units of L*a*b*."""
    return jnp.mean(jnp.abs(lab - target), axis=(1, 2, 3))


def accuracy_by_picture(lab: jax.Array, target: jax.Array, *, percent: float) -> jax.Array:
    """Share of the pixels that are right, [batch], after Nazeri et al., 2018.

    A pixel is right when L is off by `percent` at most, and a and b each by 2.2 times that: L, a
    and b rounded to whole numbers, of ranges 100, 220 and 220.
    """
    error = jnp.abs(jnp.round(lab) - jnp.round(target))
    limits = jnp.array([percent, 2.2 * percent, 2.2 * percent], error.dtype)
    return jnp.mean(jnp.all(error <= limits, axis=-1), axis=(1, 2), dtype=jnp.float32)


def ab_auc_by_picture(lab: jax.Array, target: jax.Array) -> jax.Array:
    """Area under the curve of ab errors, [batch], in 0..1, after Zhang et al., 2016.

    The curve is the share of the pixels whose (a, b) lies within t of the truth; its area the mean
    over t = 0, 1, ... 150.
    """
    return _area(jnp.hypot(lab[..., 1] - target[..., 1], lab[..., 2] - target[..., 2]))


def ab_auc_grey_by_picture(target: jax.Array) -> jax.Array:
    """What `ab_auc_by_picture` is for a prediction that is grey all over, [batch]."""
    return _area(chroma(target))


def _area(error):
    # A pixel within `error` is counted by every threshold from there on.
    counted = jnp.clip(AB_THRESHOLDS - jnp.ceil(error), 0, AB_THRESHOLDS)
    return jnp.mean(counted, axis=(1, 2)) / AB_THRESHOLDS


def chroma(lab: jax.Array) -> jax.Array:
    """Chroma of each pixel, [batch, height, width]: the distance from grey; 134 at most in sRGB."""
    return jnp.hypot(lab[..., 1], lab[..., 2])


def hue(lab: jax.Array) -> jax.Array:
    """Hue of each pixel, [batch, height, width], in degrees, [0, 360); 0 where there is none."""
    degrees = jnp.degrees(jnp.arctan2(lab[..., 2], lab[..., 1]))
    # A negative zero, or a remainder too small for float32, would give 360.
    return jnp.where(degrees < 0, degrees + 360, degrees) % 360


def chroma_by_picture(lab: jax.Array) -> jax.Array:
    """Mean chroma of each picture, [batch]."""
    return jnp.mean(chroma(lab), axis=(1, 2))


def sepia_chroma_by_picture(lab: jax.Array) -> jax.Array:
    """Chroma within `SEPIA_HUES`, mean over all pixels, [batch]: a part of `chroma_by_picture`."""
    low, high = (np.radians(degrees) for degrees in SEPIA_HUES)
    # Counter-clockwise of the lower hue and clockwise of the upper: no arc tangent.
    a, b = lab[..., 1], lab[..., 2]
    within = (np.cos(low) * b >= np.sin(low) * a) & (np.cos(high) * b < np.sin(high) * a)
    return jnp.mean(jnp.where(within, chroma(lab), 0), axis=(1, 2))


def colourfulness_by_picture(images: jax.Array) -> jax.Array:
    """Colourfulness of each picture, [batch], after Hasler and Suesstrunk, 2003.

    With R, G, B in 0..255, rg = R - G and yb = (R + G) / 2 - B, it is
    sqrt(var rg + var yb) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2). The authors call 15 slightly, 33
    moderately, 59 quite and 109 extremely colourful. Variances are over n.

    Args:
      images: RGB [batch, height, width, 3] in [-1, 1].
    """
    return _colourfulness(*_opponents(images))


def colourfulness_abs_by_picture(images: jax.Array) -> jax.Array:
    """Colourfulness as DDColor and others compute it, [batch]: of |rg| and |yb|, a smaller number.

    Not comparable with `colourfulness_by_picture`, which follows the paper.

    Args:
      images: RGB [batch, height, width, 3] in [-1, 1].
    """
    return _colourfulness(*(jnp.abs(values) for values in _opponents(images)))


def _opponents(images):
    red, green, blue = (127.5 * images[..., place] for place in range(3))
    return red - green, (red + green) / 2 - blue


def _colourfulness(red_green, yellow_blue):
    variance = sum(jnp.var(values, axis=(1, 2)) for values in (red_green, yellow_blue))
    mean = [jnp.mean(values, axis=(1, 2)) for values in (red_green, yellow_blue)]
    return jnp.sqrt(variance) + 0.3 * jnp.hypot(*mean)


def intersection_by_picture(lab: jax.Array, target: jax.Array, channel: int) -> jax.Array:
    """What the histograms of one channel share, [batch], in 0..1: sum of the smaller of each bin.

    Bins are 5 units wide: see `L_EDGES` and `AB_EDGES`. What lies outside counts in the end bins.

    Args:
      lab: [batch, height, width, 3].
      target: the same.
      channel: 0, 1 or 2: of L, a or b.
    """
    edges = AB_EDGES if channel else L_EDGES
    shares = [histogram(values[..., channel], edges) for values in (lab, target)]
    return jnp.sum(jnp.minimum(*shares), axis=-1)


def histogram(values: jax.Array, edges: np.ndarray, weights: jax.Array | None = None) -> jax.Array:
    """Share of the values of each bin, [batch, bins] float32; or the sum of weights over pixels.

    Args:
      values: [batch, height, width]; those outside of the edges count in the end bins.
      edges: [bins + 1], evenly spaced; a bin holds its lower edge.
      weights: [batch, height, width] or None for ones.
    """
    count = len(edges) - 1
    places = jnp.floor((values - edges[0]) * (count / (edges[-1] - edges[0])))
    places = jnp.clip(places, 0, count - 1).astype(jnp.int32).reshape(len(values), -1)
    weights = jnp.ones(places.shape) if weights is None else weights.reshape(places.shape)

    def total(places, weights):
        return jnp.zeros(count).at[places].add(weights)

    return jax.vmap(total)(places, weights) / places.shape[1]
