"""The sizes of a small network, which every client here puts before Matterport's `Config`."""

from tests import tiny_network

# It knows the discs of `tiny_network.CENTRES` by heart, so that what a client finds with it can be foreseen.
WEIGHTS = tiny_network.LEARNT


class Small(tiny_network.Tiny):
    IMAGE_RESIZE_MODE = "square"  # from here on Matterport's values
    DETECTION_MIN_CONFIDENCE = 0.7
    DETECTION_ABOVE_BACKGROUND = True
    MEAN_PIXEL = (200.0, 170.0, 200.0)  # those that the weights were learnt with
