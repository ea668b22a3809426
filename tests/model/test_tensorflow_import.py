"""TensorFlow comes with oneDNN, as Keras' backend and without its chatter, and what happens afterwards is heard."""

import os
import subprocess
import sys

import keras
import pytest

from model.errors import UserError
from model.tensorflow_import import import_tensorflow


@pytest.mark.slow
def test_importing_prints_nothing_and_standard_error_works_again():
    code = "import sys; from model import tensorflow_import as t; t.import_tensorflow(); print('heard', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "heard\n"


@pytest.mark.parametrize("without", ["sys.stderr = None", "sys.stderr.close()", "os.close(2)"])
def test_a_program_needs_no_standard_error(without):
    code = (
        f"import os, sys; from model import tensorflow_import as t; {without}\n"
        "with t._silent_stderr(): print('imported')\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "imported\ndone\n"), done.stderr


def test_matplotlib_and_jax_are_left_out_if_the_program_says_so_and_can_be_imported_later():
    code = """
import sys
from model import tensorflow_import
tensorflow_import.leave_out_unused()
tensorflow_import.import_tensorflow()
print({"jax", "matplotlib"} & sys.modules.keys())
import matplotlib.figure
print(matplotlib.figure.Figure.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nFigure\n"


def test_matplotlib_that_was_imported_before_stays():
    code = """
import matplotlib
from model import tensorflow_import
before = matplotlib
tensorflow_import.leave_out_unused()
tensorflow_import.import_tensorflow()
import matplotlib
print(matplotlib is before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


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


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"KERAS_BACKEND": ""}])
def test_tensorflow_is_the_backend_whatever_keras_json_says_and_of_child_processes_too(given, tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    code = (
        "import os; from model import tensorflow_import as t; t.import_tensorflow(); "
        "import keras; print(keras.backend.backend(), os.environ['KERAS_BACKEND'])"
    )
    environment |= {"KERAS_HOME": str(tmp_path), **given}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "tensorflow tensorflow\n"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_in_the_environment_is_refused_before_tensorflow_is_imported(backend):
    code = (
        "import sys; from model import errors, tensorflow_import as t\n"
        "try: t.import_tensorflow()\n"
        "except errors.UserError as error: print(error, 'tensorflow' in sys.modules)"
    )
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == (
        "Keras' backend must be tensorflow: set KERAS_BACKEND=tensorflow before Keras is imported. "
        f"Received: '{backend}' False\n"
    )


@pytest.mark.slow
def test_a_thread_waits_for_another_one_that_imports_tensorflow():
    code = (
        "import sys, threading, time; from model.tensorflow_import import import_tensorflow\n"
        "first = threading.Thread(target=import_tensorflow); first.start()\n"
        "while 'keras' not in sys.modules: time.sleep(0.001)\n"
        "import_tensorflow(); first.join(); import keras; print(keras.backend.backend())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "tensorflow\n"), done.stderr


def test_another_backend_of_a_keras_that_is_imported_already_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with pytest.raises(UserError, match=r"Keras' backend must be tensorflow: .*\. Received: 'jax'"):
        import_tensorflow()


@pytest.mark.slow
def test_without_a_home_nothing_is_written_to_the_current_folder(tmp_path):
    code = (
        "import pwd; pwd.getpwuid = {}.__getitem__; "
        "from model import tensorflow_import as t; t.import_tensorflow(); "
        "from tensorflow.python.keras import backend"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    environment.pop("HOME", None)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    assert not list(tmp_path.iterdir())
