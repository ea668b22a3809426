"""Optional dependencies, which the package installs as extras."""

from __future__ import annotations

EXTRAS = {
    "apache_beam": "beam",
    "duckdb": "beam",
    "fastapi": "serve",
    "google": "gcp",
    "jinja2": "report",
    "matplotlib": "plot",
    "prometheus_client": "serve",
    "pyarrow": "beam",
    "python_multipart": "serve",
    "starlette": "view",
    "uvicorn": "view",
}
"""Extra of the package that installs each optional library, by the library's top-level module."""


def explain_missing(error: ModuleNotFoundError) -> str:
    """Returns one line that says which extra to install.

    Raises:
      ModuleNotFoundError: No extra installs the missing module.
    """
    extra = EXTRAS.get((error.name or "").partition(".")[0])
    if extra is None:
        raise error
    return f"the extra {extra} is needed: pip install 'repcount[{extra}]'. Received: no module {error.name}"
