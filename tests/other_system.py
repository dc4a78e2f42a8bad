"""A program that runs our modules as if on another system; tests/test_portability.py starts it.

`python -m tests.other_system MODULE ...` imports the modules and runs the file layer in the working folder.
What Linux alone has is missing for them; libraries keep it, since they look which system they are on.
"""

from __future__ import annotations

import builtins
import importlib
import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np

OURS = {
    "__main__",
    "csingan",
    "mrcnn",
    "nuclei",
    *(path.stem for path in Path(__file__).parents[1].glob("*.py")),
}
POSIX_MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "termios"}
POSIX_FUNCTIONS = {
    os: ("fork", "getuid", "link", "mkfifo", "sched_getaffinity", "set_inheritable", "wait4"),
    signal: ("SIGALRM", "SIGKILL", "SIGPIPE"),
}


def leave_linux() -> None:
    """Take away what other systems lack."""
    imported, replace = builtins.__import__, os.replace

    def import_as_elsewhere(name, globals=None, locals=None, fromlist=(), level=0):
        importer = (globals or {}).get("__name__", "").partition(".")[0]
        if importer in OURS and name.partition(".")[0] in POSIX_MODULES:
            raise ModuleNotFoundError(f"{importer} imports {name}, which Linux and macOS alone have")
        return imported(name, globals, locals, fromlist, level)

    def replace_as_windows(source: Path, target: Path) -> None:
        if os.path.isdir(target):
            raise PermissionError(13, "Access is denied", str(target))
        replace(source, target)

    builtins.__import__ = import_as_elsewhere
    os.replace = replace_as_windows
    for module, names in POSIX_FUNCTIONS.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in OURS:  # text whose encoding would be the system's, see `-X warn_default_encoding`
        warnings.filterwarnings("error", category=EncodingWarning, module=rf"{name}(\.|$)")


def use_files(folder: Path) -> None:
    """Everything that touches files below the stages: what is written comes back, and replaces the old."""
    from nuclei.folders import patches
    from nuclei.folders.selected import read_selection, write_selection
    from nuclei.folders.sources import read_sources
    from nuclei.io.files import atomic_folder, read_json, write_json
    from nuclei.io.images import write_image
    from nuclei.io.locks import locked
    from nuclei.selection.feature_store import LENGTHS, FeatureStore
    from nuclei.selection.quarters import place_quarters, write_quarters
    from nuclei.slides.cropping import crop_images

    for number in (1, 2):
        write_json(folder / "a.json", {"number": number, "out": folder})
        with atomic_folder(folder / "a") as temporary:
            (temporary / str(number)).touch()
    assert read_json(folder / "a.json") == {"number": 2, "out": folder.as_posix()}
    assert [path.name for path in (folder / "a").iterdir()] == ["2"]

    with locked(folder / "lock") as ours, locked(folder / "lock", wait=False) as others:
        assert ours and not others

    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    write_image(folder / "images" / "con.png", image)
    names = crop_images(folder / "images", folder / "data", size=8, stride=8)["patch"].tolist()
    assert (
        names[0] == "_con_x0_y0" and (patches.read_patch(folder / "data" / names[3]) == image[8:, 8:]).all()
    )
    labels = np.eye(8, dtype=np.int32)
    patches.write_masks(folder / "data" / names[0], labels)
    assert (patches.read_masks(folder / "data" / names[0]) == labels).all()
    write_selection(folder / "data", read_sources(folder / "data"))
    assert read_selection(folder / "data") == names

    for _ in range(2):  # the second takes the place of the first
        write_quarters(folder / "crops", "aa", image)
        place_quarters(folder / "crops", [["aa"]], {"aa"})
    assert (patches.read_patch(folder / "crops" / "0" / "3") == image[8:, 8:]).all()
    model, length = "efficientnet_lite0", LENGTHS["efficientnet_lite0"]
    for row in range(2):
        with FeatureStore(folder / "features", model) as store:
            store.append([bytes([row] * 16)], np.ones((1, length)), np.ones((1, 4, length)))
            assert len(store.patches) == row + 1


if __name__ == "__main__":
    leave_linux()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    use_files(Path.cwd())
