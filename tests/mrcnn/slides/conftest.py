from types import SimpleNamespace

import pytest

from mrcnn import model
from mrcnn.config import NucleusConfig
from mrcnn.slides import tasks, worker
from nuclei.tissue.slide import TissueSlide
from tests.mrcnn.slides.stub import Stub
from tests.slide_files import write_slide


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A folder that passes for that of a model."""
    from nuclei.io.files import write_json

    folder = tmp_path_factory.mktemp("model")
    (folder / "mask_rcnn.h5").write_bytes(b"weights")
    write_json(folder / "config.json", NucleusConfig().to_dict() | {"IMAGE_SHAPE": Stub.config.IMAGE_SHAPE})
    return folder


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    """The stand-in for the network; nothing is kept of the test before."""
    tasks._source.cache_clear()
    worker.load_predictor.cache_clear()
    monkeypatch.setattr(model, "load", lambda *_, **__: SimpleNamespace(predictor=Stub()))
    yield
    tasks._source.cache_clear()
    worker.load_predictor.cache_clear()


@pytest.fixture(scope="session")
def tissue_slide():
    return TissueSlide(1200, 900, share=0.8, field=256, fields=2, seed=1)


@pytest.fixture(scope="session")
def slide(tissue_slide, tmp_path_factory):
    """A slide without JPEG's noise: regions come out the same however they are read."""
    image = tissue_slide.region(0, 0, tissue_slide.width, tissue_slide.height)
    return write_slide(tmp_path_factory.mktemp("slides") / "s.svs", image)
