"""TensorFlow comes with oneDNN and without its chatter, and what happens afterwards is heard."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_importing_prints_nothing_and_standard_error_works_again():
    code = "import sys; from model import tensorflow_import as t; t.import_tensorflow(); print('heard', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "heard\n"


@pytest.mark.slow
@pytest.mark.parametrize(("given", "used"), [(None, True), ("0", False)])
def test_onednn_convolves_on_any_processor_unless_the_user_declines(given, used):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    code = (
        "from model import tensorflow_import as t; t.import_tensorflow(); "
        "from tensorflow.python.framework.test_util import IsMklEnabled; print(IsMklEnabled())"
    )
    environment |= {} if given is None else {"TF_ENABLE_ONEDNN_OPTS": given}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == str(used)
