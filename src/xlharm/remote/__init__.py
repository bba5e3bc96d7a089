"""Services over HTTP: chat-completions endpoints. Keys come from the environment and go nowhere else."""
