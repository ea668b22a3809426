"""Lets `python -m pipeline` do what `repcount` does."""

import sys

from pipeline.main import main

sys.exit(main())
