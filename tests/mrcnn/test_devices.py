import keras
import pytest

from mrcnn import devices
from nuclei import devices as torch_devices


@pytest.fixture(autouse=True)
def asked_anew():
    devices.has_gpu.cache_clear()
    devices.advise.cache_clear()
    yield
    devices.has_gpu.cache_clear()
    devices.advise.cache_clear()


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
    devices.advise()
    devices.advise()
    (line,) = caplog.messages
    assert "visible to PyTorch but not to tensorflow" in line
    assert "KERAS_BACKEND=torch" in line


def test_nothing_is_said_without_a_driver(driver, monkeypatch, caplog):
    on_backend(monkeypatch, "jax", "cpu:0")
    driver.unlink()
    devices.advise()
    assert caplog.messages == []


def test_nothing_is_said_where_pytorch_sees_none(driver, monkeypatch, caplog):
    on_backend(monkeypatch, "jax", "cpu:0")
    monkeypatch.setattr(torch_devices, "has_gpu", lambda: False)
    devices.advise()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("backend", "found"), [("tensorflow", "gpu:0"), ("jax", "gpu:0"), ("torch", "cpu:0")]
)
def test_nothing_is_said_where_the_gpu_is_used(driver, monkeypatch, caplog, backend, found):
    on_backend(monkeypatch, backend, found)
    devices.advise()
    assert devices.has_gpu()
    assert caplog.messages == []


def test_a_processor_is_no_gpu(monkeypatch):
    on_backend(monkeypatch, "jax", "cpu:0", "cpu:1")
    assert not devices.has_gpu()
