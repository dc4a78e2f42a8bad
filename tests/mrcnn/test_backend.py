import pytest

from mrcnn import backend
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
