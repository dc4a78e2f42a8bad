import numpy as np
import pytest

from mrcnn.segmentation import segment_images
from mrcnn.selftraining.start import FOLDER
from nuclei import tissue
from nuclei.io.images import write_image


@pytest.mark.slow
def test_a_grey_image_is_told(tmp_path, caplog):
    image = tissue.generate("hepatic", 64, 0)[0]
    write_image(tmp_path / "grey.png", np.repeat(image[..., :1], 3, axis=2))
    write_image(tmp_path / "stained.png", image)
    segment_images([tmp_path / "grey.png", tmp_path / "stained.png"], FOLDER, tmp_path / "out")
    assert "grey.png is grey; the network learnt nuclei in the colours of their stain" in caplog.text
    assert "stained.png is grey" not in caplog.text
