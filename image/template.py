"""The entry of the Flex Template: its parameters are options of `repcount run`, which submits the job and ends."""

from __future__ import annotations

import sys

from pipeline.main import main

if __name__ == "__main__":
    sys.exit(main(["run", "--no_wait", *sys.argv[1:]]))
