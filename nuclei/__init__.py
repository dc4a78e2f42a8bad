"""What the three stages share: images, folders, slides, selection, outlines, scores, generated tissue."""

import os

# Must be set before OpenCV is imported: it would warn of a broken image beside our own message.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
