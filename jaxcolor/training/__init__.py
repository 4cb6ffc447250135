"""Training: state, optimizers, the pure step, checkpoints, reports, and the loop."""
