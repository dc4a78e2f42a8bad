"""Mask R-CNN on Keras 3, with the public face of Matterport's implementation."""

import os

# Both must be set before TensorFlow is imported. Unless told otherwise it greets with pages of build details.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# It gives the memory of every large tensor back to the system and asks for it again; where page faults are
# dear, as in containers, that takes as long as the arithmetic. With a pool of its own it does not.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
