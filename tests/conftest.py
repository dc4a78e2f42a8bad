"""torch's compiler and TensorFlow each bring an LLVM; in one process only torch's first works."""

import torchvision  # noqa: F401

import mrcnn  # noqa: F401  (TensorFlow is quiet, whoever imports it)

SLOWEST = (
    "test_demo.py",
    "test_scripts.py",
    "test_backends.py",
    "test_model.py",
    "test_detection.py",
    "test_train.py",
)


def pytest_collection_modifyitems(items):
    """The files that take minutes come first, so that no core waits for one of them at the end."""
    items.sort(key=lambda item: SLOWEST.index(item.path.name) if item.path.name in SLOWEST else len(SLOWEST))
