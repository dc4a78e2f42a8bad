import keras
import pytest

from mrcnn import backend
from nuclei import devices as torch_devices
from nuclei.errors import InputError


@pytest.mark.parametrize("name", [None, "", "tensorflow", "torch"])
def test_what_keras_can_be_imported_with(monkeypatch, name):
    if name is None:
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
    else:
        monkeypatch.setenv("KERAS_BACKEND", name)
    backend.check()


@pytest.mark.parametrize(
    ("name", "words"),
    [("pytorch", "is 'pytorch'; set it to tensorflow"), ("jax", "is 'jax', which is not installed")],
)
def test_what_it_cannot_be_imported_with_is_named(monkeypatch, name, words):
    monkeypatch.setenv("KERAS_BACKEND", name)
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"KERAS_BACKEND {words}"):
        backend.check()


@pytest.fixture(autouse=True)
def asked_anew():
    backend.has_gpu.cache_clear()
    backend.advise.cache_clear()
    yield
    backend.has_gpu.cache_clear()
    backend.advise.cache_clear()


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A machine on which NVIDIA's driver is installed and PyTorch sees a GPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch_devices, "has_gpu", lambda: True)
    return program


def on_backend(monkeypatch, name, *found):
    monkeypatch.setattr(keras.backend, "backend", lambda: name)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: list(found))


def test_an_idle_gpu_is_told_of_in_one_line_once(driver, monkeypatch, caplog):
    on_backend(monkeypatch, "tensorflow", "cpu:0")
    backend.advise()
    backend.advise()
    (line,) = caplog.messages
    assert "visible to PyTorch but not to tensorflow" in line
    assert "KERAS_BACKEND=torch" in line


def test_nothing_is_said_without_a_driver(driver, monkeypatch, caplog):
    on_backend(monkeypatch, "jax", "cpu:0")
    driver.unlink()
    backend.advise()
    assert caplog.messages == []


def test_nothing_is_said_where_pytorch_sees_none(driver, monkeypatch, caplog):
    on_backend(monkeypatch, "jax", "cpu:0")
    monkeypatch.setattr(torch_devices, "has_gpu", lambda: False)
    backend.advise()
    assert caplog.messages == []


@pytest.mark.parametrize(("name", "found"), [("tensorflow", "gpu:0"), ("jax", "gpu:0"), ("torch", "cpu:0")])
def test_nothing_is_said_where_the_gpu_is_used(driver, monkeypatch, caplog, name, found):
    on_backend(monkeypatch, name, found)
    backend.advise()
    assert backend.has_gpu()
    assert caplog.messages == []


def test_a_processor_is_no_gpu(monkeypatch):
    on_backend(monkeypatch, "jax", "cpu:0", "cpu:1")
    assert not backend.has_gpu()
