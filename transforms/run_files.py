"""Names under which runs store files beside tables and on Cloud Storage. A listing leaves these files out."""

from __future__ import annotations

ATTEMPTS_SUFFIX = ".attempts"
"""PATH of a DuckDB file + this: folder of the notes which videos are in flight."""

STAGING_SUFFIX = ".staging-"
"""PATH of a DuckDB file + this + the run: folder of the run's staged files."""

STAGING_FOLDER = "repcount-staging"
"""Folder of `--temp_location` with the staged files of runs."""

ATTEMPTS_FOLDER = "repcount-attempts"
"""Folder of `--temp_location` with the notes which videos are in flight."""
