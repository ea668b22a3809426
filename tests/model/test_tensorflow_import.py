"""TensorFlow comes without its chatter, and what happens afterwards is heard."""

import subprocess
import sys


def test_importing_prints_nothing_and_standard_error_works_again():
    code = "import sys; from model import tensorflow_import as t; t.import_tensorflow(); print('heard', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "heard\n"
