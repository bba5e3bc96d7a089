"""The engine: a pure scheduler, a failure policy, and one thin module that runs packs on Ray."""
