"""Content-addressed results: a stage is finished when its folder contains ``_SUCCESS``."""
