"""The commands of `repcount`, one file each.

A command's file has `add_parser(subparsers)`, which adds the command and sets its function with `set_defaults(run=…)`. To add a
command: add its file and a line below.
"""

COMMANDS = {
    "run": "count the videos of a folder or a bucket and write the counts to tables",
    "count": "count videos here and now, without tables",
    "serve": "count single videos by HTTP request",
    "view": "play counted videos with their curves in a browser, and correct counts",
    "report": "write a page about a run or about days of uploads: totals, failures, counts to review",
    "evaluate": "count videos with known counts and print how accurate the counts are",
    "model": "fetch, list, describe, verify or export models",
    "export": "write a table or view as CSV, JSON lines or Parquet",
    "tables": "create or update the tables and views",
    "delete": "delete the rows of videos from every table",
    "cost": "estimate machines, hours and dollars of a nightly run on Dataflow",
}
"""What each command does, by its name, which is also the name of its file."""

ALIASES = {"forget": "delete"}
"""Former names of commands."""
