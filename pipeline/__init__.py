"""What users start: the command line and its commands, from `run` and `count` to `serve` and `view`, and the Python API."""
