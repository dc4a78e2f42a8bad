"""`python -m benchmarks.label_efficiency.hold LOCK COMMAND ...`: run a command that holds LOCK.

A lock ends with its process. This one outlives the experiment when that is killed, as the command does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nuclei.io.locks import locked

if __name__ == "__main__":
    with locked(Path(sys.argv[1])):
        sys.exit(subprocess.run(sys.argv[2:], check=False).returncode)
