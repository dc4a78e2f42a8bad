"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.programs import ROOT
from tests.test_structure import MODULES

WITH_EXAMPLES = [path for path in MODULES if ">>> " in path.read_text(encoding="utf-8")]
NAMES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in WITH_EXAMPLES]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted and not failed


def test_the_public_functions_have_examples() -> None:
    assert {
        "nuclei.evaluation.metrics",
        "nuclei.folders.patches",
        "nuclei.label_free",
        "nuclei.outlines.polygons",
        "nuclei.selection.budget",
        "nuclei.selection.two_stage",
    } <= set(NAMES)
