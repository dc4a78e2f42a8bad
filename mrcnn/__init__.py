"""Mask R-CNN on Keras 3, with the public face of Matterport's implementation."""

import os
import sys

from mrcnn.quiet import QuietTensorFlow

# Both must be done before TensorFlow is imported.
sys.meta_path.insert(0, QuietTensorFlow())
# It gives the memory of every large tensor back to the system and asks for it again; where page faults are
# dear, as in containers, that takes as long as the arithmetic. With a pool of its own it does not.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
