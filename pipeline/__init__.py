"""How a run is put together and started: command line, options, launch checks, summary and exit code."""
