"""TensorFlow is imported without its pages of build details; NUCLEI_LOG_LEVEL=DEBUG shows them."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from nuclei import messages


class QuietTensorFlow(MetaPathFinder):
    """Once in `sys.meta_path`, it silences the import of TensorFlow, whoever imports it and whenever."""

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname != "tensorflow" or messages.is_verbose():
            return None
        spec = PathFinder.find_spec(fullname)
        if spec and spec.origin:
            spec.loader = _QuietLoader(fullname, spec.origin)
        return spec


class _QuietLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        os.environ.setdefault(
            "TF_CPP_MIN_LOG_LEVEL", "3"
        )  # what it says later; exceptions have their own text
        with _stderr_held_back():
            super().exec_module(module)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Drop what is written to stderr meanwhile; after an exception it is shown after all.

    Its libraries write while they are loaded, before they read any setting, and past `sys.stderr`. Where a
    processor is too old for them, they end the program: then only `--verbose` shows why.
    """
    try:
        shown = os.dup(2)
    except OSError:  # a program without stderr
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
