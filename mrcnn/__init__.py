"""Mask R-CNN on Keras 3, with the public face of Matterport's implementation."""

import os

# TensorFlow greets with a page of build details unless told otherwise before it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
