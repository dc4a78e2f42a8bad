"""Run the scripts as a user does."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def call(folder, script, *arguments):
    """Run `python script arguments` in `folder`; returns the finished process with its text output."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def assert_refused(finished, *words):
    """It ended with exit code 1 and one line on stderr, after notes at most, that holds all the words."""
    assert finished.returncode == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    *notes, line = finished.stderr.strip().splitlines()
    assert all(note.startswith("note: ") for note in notes), finished.stderr
    assert line.startswith("error: ")
    for word in words:
        assert word in line
