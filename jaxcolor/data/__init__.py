"""Pictures: sources, transforms, the demo set, and the grain pipeline."""
