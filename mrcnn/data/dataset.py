"""The dataset interface that Matterport's users know: subclass `Dataset`, say what there is, read it."""

from __future__ import annotations

import logging
import warnings

import numpy as np

from mrcnn.data.mask_arrays import label_image
from nuclei.io.images import read_image

log = logging.getLogger(__name__)


class Dataset:
    """Images with instance masks; subclass it and override `load_mask`, and `load_image` where needed.

    Call `add_class` and `add_image` for everything there is, then `prepare` once. A class has an id of
    its source's own, as given to `add_class`, and an internal one, its place in `class_info`.
    """

    def __init__(self, class_map: None = None):
        _refuse(class_map)
        self.image_info: list[dict] = []
        self.class_info: list[dict] = [{"source": "", "id": 0, "name": "BG"}]  # background comes first
        self.source_class_ids: dict[str, list[int]] = {}
        self._image_ids = np.arange(0)
        self._told_of_overlap = False

    def add_class(self, source: str, class_id: int, class_name: str) -> None:
        """Register a class; naming it twice changes nothing.

        Raises:
            ValueError: the source's name holds a dot, which separates source and id in the maps.
        """
        if "." in source:
            raise ValueError(f"the name of a source must not hold a dot: {source!r}")
        if any(info["source"] == source and info["id"] == class_id for info in self.class_info):
            return
        self.class_info.append({"source": source, "id": class_id, "name": class_name})

    def add_image(self, source: str, image_id, path, **kwargs) -> None:
        """Register an image; further keywords are kept in its `image_info`."""
        self.image_info.append({"id": image_id, "source": source, "path": path, **kwargs})

    def prepare(self, class_map: None = None) -> None:
        """Number classes and images; call after the last `add_class` and `add_image`.

        Sets num_classes, class_ids, class_names (up to the first comma), num_images, image_ids, sources,
        source_class_ids (internal ids by source, the background with each), class_from_source_map and
        image_from_source_map (internal ids by "source.id").

        Raises:
            ValueError: a `class_map`; the argument is there for its callers, and never had a meaning.
        """
        _refuse(class_map)
        self.num_classes = len(self.class_info)
        self.class_ids = np.arange(self.num_classes)
        self.class_names = [info["name"].split(",")[0] for info in self.class_info]
        self.num_images = len(self.image_info)
        self._image_ids = np.arange(self.num_images)
        self.class_from_source_map = _by_source(self.class_info)
        self.image_from_source_map = _by_source(self.image_info)
        self.sources = list(dict.fromkeys(info["source"] for info in self.class_info))
        self.source_class_ids = {
            source: [i for i, info in enumerate(self.class_info) if i == 0 or info["source"] == source]
            for source in self.sources
        }

    @property
    def image_ids(self) -> np.ndarray:
        """(num_images,) internal ids, 0 to num_images - 1; none before `prepare`."""
        return self._image_ids

    def map_source_class_id(self, source_class_id: str) -> int:
        """Internal id of a class given as "source.id", such as "coco.12"; KeyError where there is none."""
        return self.class_from_source_map[source_class_id]

    def get_source_class_id(self, class_id: int, source: str) -> int:
        """The id that `source` gives to the class with the internal id `class_id`.

        Raises:
            ValueError: the class is another source's.
        """
        info = self.class_info[class_id]
        if info["source"] != source:
            raise ValueError(f"class {class_id} ({info['name']}) is of {info['source']!r}, not of {source!r}")
        return info["id"]

    def source_image_link(self, image_id: int):
        """Path or address of the image, as given to `add_image`."""
        return self.image_info[image_id]["path"]

    def image_reference(self, image_id: int) -> str:
        """What to call an image in a message: its path."""
        return str(self.image_info[image_id]["path"])

    def name_of(self, image_id: int) -> str:
        """What messages call an image: its `image_reference`, which a subclass may leave empty, or its id."""
        info = self.image_info[image_id]
        return str(self.image_reference(image_id) or info["path"] or f"{info['source']}.{info['id']}")

    def load_image(self, image_id: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB from the image's path, grey and transparent ones too.

        Raises:
            InputError: the file is missing, broken or of another format.
        """
        return read_image(self.image_info[image_id]["path"])

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Masks (H, W, N) bool and their class ids (N,) int32, internal ones; override it.

        A subclass may call it for an image without instances: it answers with masks (0, 0, 0) and no ids.
        """
        warnings.warn(
            f"{type(self).__name__} has no masks for {self.name_of(image_id)}: "
            "the load_mask in use is that of mrcnn.utils.Dataset, which a subclass overrides",
            stacklevel=2,
        )
        return np.zeros((0, 0, 0), bool), np.zeros(0, np.int32)

    def load_labels(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The masks as one label image (H, W) int32, 0 background and 1..N, and their class ids (N,) int32.

        This is what training reads. Where masks overlap, the pixel goes to the later one, and a warning
        says so for the first such image.

        Raises:
            ValueError: `load_mask` returns more masks than class ids, or fewer.
        """
        masks, class_ids = self.load_mask(image_id)
        class_ids = np.asarray(class_ids, np.int32)
        if masks.shape[2] != len(class_ids):
            raise ValueError(
                f"{self.name_of(image_id)}: {masks.shape[2]} masks, but {len(class_ids)} class ids"
            )
        if masks.size == 0:
            return np.zeros(self.load_image(image_id).shape[:2], np.int32), class_ids
        labels, shared = label_image(masks)
        if shared and not self._told_of_overlap:
            self._told_of_overlap = True
            log.warning(
                f"masks of {self.name_of(image_id)} overlap in {shared} px, which go to the later "
                "mask; further images of this dataset are not reported"
            )
        return labels, class_ids


def _refuse(class_map) -> None:
    if class_map is not None:
        raise ValueError("class_map is not supported; give classes that are the same one source and id")


def _by_source(infos: list[dict]) -> dict[str, int]:
    """Place in the list by "source.id"."""
    return {f"{info['source']}.{info['id']}": place for place, info in enumerate(infos)}
