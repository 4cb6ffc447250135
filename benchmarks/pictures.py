"""Pictures to compute on: their content costs nothing, so it is random."""

import numpy as np


def draw_batch(image_size: int, batch_size: int) -> dict[str, np.ndarray]:
    """ "condition" and "target", uint8 [batch_size, image_size, image_size, 3]."""
    shape = (2, batch_size, image_size, image_size, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return {"condition": pictures[0], "target": pictures[1]}
