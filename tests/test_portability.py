"""The product runs on Windows and macOS too: it needs nothing that Linux alone has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.programs import ROOT
from tests.test_structure import MODULES, SCRIPTS


def test_every_module_and_the_file_layer_do_without_what_linux_alone_has(tmp_path: Path) -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES + SCRIPTS]
    names = [name.removesuffix(".__init__") for name in names]
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-m", "tests.other_system", *names],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 quarters were copied" in done.stderr
