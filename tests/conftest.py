"""torch's compiler and TensorFlow each bring an LLVM; in one process only torch's first works."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import torchvision  # noqa: E402, F401
