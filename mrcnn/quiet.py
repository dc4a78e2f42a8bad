"""TensorFlow is imported without its pages of build details; NUCLEI_LOG_LEVEL=DEBUG shows them."""

from __future__ import annotations

import logging
import os
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from nuclei import messages
from nuclei.io.stderr import held_back


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
        # What it says later; exceptions have their own text.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # Its libraries write while they are loaded, before they read any setting. Where a processor is too
        # old for them, they end the program: then only `--verbose` shows why.
        with held_back():
            super().exec_module(module)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
