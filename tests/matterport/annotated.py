"""The discs of `tests.tiny_network` on disk, annotated in the form that each client reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as rle_masks

from nuclei.folders import patches
from nuclei.io.images import write_image
from tests.tiny_network import CENTRES, RADIUS, SIDE, discs

NUCLEUS = 18  # the id of nuclei among COCO's categories here

Corners = list[tuple[int, int]]  # (row, column) px


def outline(centre: tuple[int, int]) -> Corners:
    """Of a disc."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    corners = np.array(centre) - 0.5 + RADIUS * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return [(y, x) for y, x in np.rint(corners).astype(int).tolist()]


def via_project(folder: Path, *drawn: tuple[np.ndarray, list[Corners]], as_list: bool = False) -> None:
    """Images with polygons, for balloon.py; regions are a list since version 2 of the tool."""
    folder.mkdir(parents=True)
    entries = {}
    for number, (image, polygons) in enumerate(drawn):
        write_image(folder / f"{number}.png", image)
        regions = [{"shape_attributes": _polygon(corners), "region_attributes": {}} for corners in polygons]
        numbered = {str(i): region for i, region in enumerate(regions)}
        entries[f"{number}.png1"] = {
            "filename": f"{number}.png",
            "regions": regions if as_list else numbered,
        }
    (folder / "via_region_data.json").write_text(json.dumps(entries))


def _polygon(corners: Corners) -> dict:
    rows, columns = zip(*corners, strict=True)
    return {"name": "polygon", "all_points_y": rows, "all_points_x": columns}


def balloons(folder: Path) -> None:
    """Both images of discs to train and to validate, and one in which nobody outlined anything."""
    drawn = [(discs(centres)[0], [outline(centre) for centre in centres]) for centres in CENTRES]
    via_project(folder / "train", *drawn, (discs([])[0], []))
    via_project(folder / "val", *drawn, (discs([])[0], []), as_list=True)


def coco_dataset(folder: Path) -> None:
    """Both images, 1000 and 1001, with polygons, the second with a crowd in its corner, and an empty one."""
    given = [(1000 + i, [outline(centre)]) for i, centres in enumerate(CENTRES) for centre in centres]
    annotations = [_with_polygon(number, *each) for number, each in enumerate(given, 1)]
    # Down the columns: 5 px of the first, 5 px of the second, nothing else.
    runs = {"size": [SIDE, SIDE], "counts": [0, 5, SIDE - 5, 5, SIDE * SIDE - SIDE - 5]}
    annotations.append(_annotation(len(annotations) + 1, 1001, runs, area=10, bbox=[0, 0, 2, 5], iscrowd=1))
    images = [discs(centres)[0] for centres in (*CENTRES, [])]
    content = {
        "info": {},
        "images": [
            {"id": 1000 + i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE}
            for i in range(len(images))
        ],
        "annotations": annotations,
        "categories": [{"id": NUCLEUS, "name": "nucleus"}],
    }
    (folder / "annotations").mkdir(parents=True)
    for subset in ("train", "val"):
        (folder / subset).mkdir()
        (folder / "annotations" / f"instances_{subset}.json").write_text(json.dumps(content))
        for i, image in enumerate(images):
            write_image(folder / subset / f"{i}.png", image)


def _with_polygon(number: int, image_id: int, polygons: list[Corners]) -> dict:
    flat = [[side + 0.5 for y, x in corners for side in (x, y)] for corners in polygons]
    rle = rle_masks.merge(rle_masks.frPyObjects(flat, SIDE, SIDE))
    area, bbox = int(rle_masks.area(rle)), rle_masks.toBbox(rle).tolist()
    return _annotation(number, image_id, flat, area=area, bbox=bbox, iscrowd=0)


def _annotation(number: int, image_id: int, segmentation, **further) -> dict:
    shared = {"id": number, "image_id": image_id, "category_id": NUCLEUS}
    return {**shared, "segmentation": segmentation, **further}


def kangaroos(folder: Path) -> None:
    """Both images with the boxes around the discs, for kangaroo.py."""
    for name in ("images", "annots"):
        (folder / name).mkdir(parents=True)
    for number, centres in enumerate(CENTRES):
        write_image(folder / "images" / f"{number:05d}.png", discs(centres)[0])
        boxes = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for y, x in centres]
        (folder / "annots" / f"{number:05d}.xml").write_text(voc(boxes, SIDE, SIDE))


def voc(boxes: list[tuple[int, int, int, int]], width: int, height: int) -> str:
    """Boxes (xmin, ymin, xmax, ymax) px as Pascal VOC has them."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        "<object><name>kangaroo</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    ]
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def stacks(folder: Path, channels: int) -> None:
    """Both images as stacks of channels, each brighter than the one before, for five_channels.py."""
    folder.mkdir(parents=True)
    for number, centres in enumerate(CENTRES):
        labels = discs(centres)[1]
        bright = (labels[..., None] > 0) * 20 * np.arange(1, channels + 1) + 10
        np.save(folder / f"field{number}.npy", bright.astype(np.uint8))
        np.save(folder / f"field{number}_labels.npy", labels)


def patch_folders(folder: Path) -> None:
    """The first image as a labelled patch, the second as an unlabelled one, for pseudo_labelling.py."""
    image, labels = discs(CENTRES[0])
    patches.write_patch(folder / "labelled", "a", image, labels)
    patches.write_patch(folder / "unlabelled", "b", discs(CENTRES[1])[0])
