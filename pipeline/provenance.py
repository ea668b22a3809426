"""What the rows of a run that starts now say about it."""

from __future__ import annotations

import datetime
import importlib.metadata
import re
import secrets

from transforms.records import Slice
from transforms.scoring import ModelConfig
from transforms.warehouse.name_labels import NameLabels
from transforms.warehouse.rows import Provenance

SLICE_ID = re.compile(r"(?P<run>.+)-(?P<number>[1-9][0-9]*)of(?P<total>[1-9][0-9]*)", re.DOTALL)
"""Id in `runs` of a slice, as `slice_run_id` returns it."""


def slice_run_id(run_id: str, part: Slice) -> str:
    """Returns the id of a slice of a run."""
    return f"{run_id}-{part.number}of{part.total}"


def new_provenance(model: ModelConfig, options_json: str, name_labels: NameLabels, suffix: str = "") -> Provenance:
    """Returns the provenance of a run that starts now, under an id of its own.

    Args:
      model: Which network scores the frames, and how.
      options_json: Options that decide the numbers, as `rows.canonical_json` writes them.
      name_labels: How videos get the labels in their rows.
      suffix: End of the id.
    """
    now = datetime.datetime.now(datetime.UTC)
    return Provenance(
        run_id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}{suffix}",
        run_started=now,
        model=model.name,
        model_sha256=model.sha256,
        options_json=options_json,
        code_version=importlib.metadata.version("repcount"),
        precision=model.precision,
        name_labels=name_labels,
    )
