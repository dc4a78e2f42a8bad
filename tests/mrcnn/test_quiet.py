import os
import subprocess
import sys

import pytest

from tests.programs import ROOT

NOISE = "I0000 port.cc:153] from a library that is being loaded\n"


def python(code, *path, **variables):
    """Run `code` as a program that says as much as `variables` ask for."""
    unset = ("NUCLEI_LOG_LEVEL", "TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (*path, ROOT)))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | variables, check=False
    )


@pytest.fixture
def stand_in(tmp_path):
    """A TensorFlow that writes past sys.stderr when it is loaded, then runs the code it is given."""

    def make(code, noise=f"os.write(2, {NOISE!r}.encode())"):
        package = tmp_path / "tensorflow"
        package.mkdir()
        (package / "__init__.py").write_text(f"import os\n{noise}\n{code}\n")
        return tmp_path

    return make


def test_the_network_starts_in_silence():
    done = python("import mrcnn.model, tensorflow; tensorflow.reduce_sum([1.0, 2.0])")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_tensorflow_says_comes_back(stand_in):
    done = python("import mrcnn, tensorflow", stand_in("answer = 42"), NUCLEI_LOG_LEVEL="DEBUG")
    assert (done.returncode, done.stderr) == (0, NOISE)


def test_only_while_it_is_loaded(stand_in):
    code = "import mrcnn, tensorflow, os; os.write(2, b'ours'); print(tensorflow.answer)"
    done = python(code, stand_in("answer = 42"))
    assert (done.stdout, done.stderr) == ("42\n", "ours")


def test_a_failing_import_keeps_its_words(stand_in):
    done = python("import mrcnn, tensorflow", stand_in("raise ImportError('a library is missing')"))
    assert done.returncode == 1
    assert done.stderr.startswith(NOISE)
    assert done.stderr.endswith("ImportError: a library is missing\n")


def test_without_a_stderr_it_is_loaded_too(stand_in):
    code = "import os; os.close(2); import mrcnn, tensorflow; print(tensorflow.answer)"
    assert python(code, stand_in("answer = 42", noise="")).stdout == "42\n"
