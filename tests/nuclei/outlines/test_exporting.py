import numpy as np
import pytest

from nuclei import tissue
from nuclei.errors import InputError
from nuclei.folders.patches import write_patch
from nuclei.io.images import read_image, write_image
from nuclei.outlines.exporting import export_patches


def test_an_image_of_somebody_is_not_replaced(tmp_path):
    image = tissue.generate("stroma", 64, 0)[0]
    for name in "ab":
        write_patch(tmp_path / "data", name, image)
    out = tmp_path / "out"
    write_image(out / "a.png", image)
    write_image(out / "b.png", image[:50])

    def export():
        return export_patches(
            tmp_path / "data", ["a", "b"], out, ["geojson"], "none", lambda i: np.zeros((64, 64), int)
        )

    with pytest.raises(InputError, match=r"b\.png is another image than the patch of that name"):
        export()
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]
    assert read_image(out / "b.png").shape == (50, 64, 3)
    (out / "b.png").unlink()
    assert export() == 2
