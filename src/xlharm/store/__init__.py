"""Content-addressed results: a stage is done when its folder exists with ``_SUCCESS``."""
