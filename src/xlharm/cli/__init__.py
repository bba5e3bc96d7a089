"""The command line: wiring, exit codes, what the terminal shows."""
