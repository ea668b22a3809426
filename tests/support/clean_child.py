"""A process without this project: runs a script in a folder, and fails if it imports any of the project's packages.

Usage: python -I clean_child.py SCRIPT
"""

import runpy
import sys

OURS = ("model", "transforms", "pipeline", "benchmarks", "demo", "tests")


class _Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in OURS:
            raise ImportError(f"this process has no {name}")


sys.meta_path.insert(0, _Refuse())
runpy.run_path(sys.argv[1], run_name="__main__")
assert not {name.split(".")[0] for name in sys.modules} & set(OURS)
