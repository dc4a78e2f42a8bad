"""What the tests of the annotation formats share."""

import json

import numpy as np
import shapely

from nuclei.outlines.polygons import paint

SQUARE = shapely.box(2, 1, 4, 3)  # the four pixels in rows 1 and 2, columns 2 and 3
RING = [[2, 1], [4, 1], [4, 3], [2, 3], [2, 1]]  # its corners
SQUARE_PIXELS = [[1, 2], [1, 3], [2, 2], [2, 3]]


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def pixels(annotation, size=(8, 8)):
    """Row and column of the pixels of each object."""
    painted = [paint([shape.outline], size)[0] for shape in annotation.shapes]
    return [np.argwhere(labels).tolist() for labels in painted]
