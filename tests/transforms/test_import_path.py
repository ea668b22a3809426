"""A process that another starts imports the same modules, and none from the current folder."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_program_is_found_and_the_current_folder_is_not_looked_in(tmp_path):
    script = (
        "import os, sys\nsys.path.insert(1, sys.argv[1])\nfrom transforms.import_path import import_path\nprint(import_path())"
    )
    command = [sys.executable, "-c", script, str(ROOT)]  # under -c, the first entry of sys.path is the current folder
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    entries = printed.split(os.pathsep)
    assert {str(ROOT), os.path.dirname(os.__file__)} <= set(entries)
    assert all(map(os.path.isabs, entries))
    assert str(tmp_path) not in entries
