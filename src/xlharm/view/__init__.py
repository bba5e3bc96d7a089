"""Watch a run from its store while it goes on: at the terminal, and as a local page."""
