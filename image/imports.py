"""Imports what workers, runs and the service import, so that the image keeps the compiled bytecode of exactly that.

Without it each container compiles these modules anew: a service that starts in 10 s would take 25 s. The service could not
even keep the result, since its user may not write to the packages. `smoke.py`, which counts a clip, does the same for the model
and the decoder.
"""

from __future__ import annotations

import importlib

MODULES = (
    "apache_beam.io.gcp.gcsfilesystem",
    "apache_beam.runners.worker.sdk_worker_main",
    "duckdb",
    "google.cloud.bigquery",
    "google.cloud.storage",
    "pipeline.commands.run",
    "pipeline.commands.serve",
    "pipeline.execute",
    "pipeline.graph",
    "pipeline.serve.app",
    "pipeline.serve.server",
    "pipeline.serve.store",
    "pyarrow.parquet",
    "transforms.warehouse.bigquery_warehouse",
    "transforms.warehouse.duckdb_warehouse",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)
"""Modules that are imported when something starts, or when it first needs a bucket or a table."""


def main() -> None:
    """Imports the modules, with all that they import."""
    for module in MODULES:
        importlib.import_module(module)


if __name__ == "__main__":
    main()
