"""Optional dependencies, which the package installs as extras."""

from __future__ import annotations

from collections.abc import Sequence

EXTRAS = {
    "apache_beam": ("beam", "gcp"),
    "duckdb": ("beam", "gcp"),
    "fastapi": ("serve",),
    "google": ("gcp",),
    "jinja2": ("report", "view", "serve"),
    "matplotlib": ("plot",),
    "prometheus_client": ("serve",),
    "pyarrow": ("beam", "gcp"),
    "python_multipart": ("serve",),
    "starlette": ("view",),
    "uvicorn": ("view", "serve"),
}
"""Extras of the package that install each optional library, by the library's top-level module; first the usual one."""

_ON_GOOGLE_CLOUD = ("gs://", "bigquery:")


def explain_missing(error: ModuleNotFoundError, words: Sequence[str]) -> str:
    """Returns one line that says which extra to install.

    Of several it is the one that has what the command will need next, so that one installation is enough: the command's own,
    or gcp for what is on Google Cloud.

    Args:
      error: What could not be imported.
      words: Words of the command line.

    Raises:
      ModuleNotFoundError: No extra installs the missing module.
    """
    extras = EXTRAS.get((error.name or "").partition(".")[0])
    if extras is None:
        raise error
    wanted = {next((word for word in words if not word.startswith("-")), "")}
    if any(scheme in word for word in words for scheme in _ON_GOOGLE_CLOUD):
        wanted.add("gcp")
    extra = next((name for name in extras if name in wanted), extras[0])
    return f"the extra {extra} is needed: pip install 'repcount[{extra}]'. Received: no module {error.name}"
