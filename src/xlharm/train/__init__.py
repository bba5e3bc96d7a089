"""The training loop for all stages and objectives, on a DeepSpeed engine."""
