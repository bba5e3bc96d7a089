"""One training loop, many objectives, on a DeepSpeed engine."""
