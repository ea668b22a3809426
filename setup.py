"""Packaging of the pipeline; everything static lives in pyproject.toml.

Beam stages this file's source distribution on Dataflow workers, so it names exactly the three packages that a worker imports
and never `tests` or `benchmarks`.
"""

from setuptools import find_packages, setup

setup(packages=find_packages(include=["pipeline*", "transforms*", "model*"]))
