"""Trained weights from the places that publish them, checked, and complete or absent."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from mrcnn.modeling import efficientnet
from nuclei.errors import InputError
from nuclei.io.files import writing

_CHUNK = 1 << 16  # bytes
_TIMEOUT = 30  # s without an answer
_RETRIES = 2


@dataclass(frozen=True)
class Source:
    """A published file: where it is, and its digest by an algorithm of `hashlib`."""

    url: str
    algorithm: str
    digest: str


COCO = Source(
    "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5",
    "sha256",
    "ab8f779d74d790abe4fcf3f60ab368129df5ee866262c439c6bae5af13afaf56",
)
IMAGENET_RESNET50 = Source(
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "md5",
    "a268eb855778b3df3c7506639542a6af",
)


def download_trained_weights(coco_model_path: Path | str, verbose: int = 1) -> None:
    """Fetch Matterport's weights trained on COCO (ResNet-101, 81 classes, 246 MB) unless they are there.

    Args:
        coco_model_path: the file to write.
        verbose: 0 shows no progress.

    Raises:
        InputError: they cannot be fetched, or another file is in their place.
    """
    fetch(COCO, Path(coco_model_path), progress=bool(verbose))


def imagenet_weights(backbone: str | Callable) -> str:
    """What `MaskRCNN.load_weights` takes for ImageNet weights: a path, or the name of those from pip.

    Raises:
        InputError: they cannot be fetched, or another file is in their place.
        ValueError: the backbone is the user's own.
    """
    if callable(backbone):
        raise ValueError("there are no ImageNet weights for a BACKBONE of your own")
    return efficientnet.NAME if backbone == efficientnet.NAME else str(imagenet_resnet50())


def imagenet_resnet50() -> Path:
    """Where Keras's cache holds ResNet-50 without its classifier, trained on ImageNet; fetched when missing.

    Raises:
        InputError: they cannot be fetched, or another file is in their place.
    """
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    path = home / "models" / Path(IMAGENET_RESNET50.url).name
    fetch(IMAGENET_RESNET50, path)
    return path


def fetch(source: Source, path: Path, progress: bool = True) -> None:
    """Download `source` to `path`, unless it is there already; the file is complete or absent.

    Args:
        source: what to fetch.
        path: the file to write; its folder is made.
        progress: show a bar.

    Raises:
        InputError: no network, another file came than expected or is already at `path`, or `path`
            cannot be written.
    """
    if path.exists():
        if path.is_dir() or pooch.file_hash(path, source.algorithm) != source.digest:
            raise InputError(f"{path} is not {source.url} (its {source.algorithm} differs); move it away")
        return
    pooch.get_logger().setLevel("WARNING")  # the bar says it
    cache = pooch.create(
        path.parent,
        base_url="",
        registry={path.name: f"{source.algorithm}:{source.digest}"},
        urls={path.name: source.url},
        retry_if_failed=_RETRIES,
    )
    bar = tqdm(total=1, desc=path.name, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress)
    download = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, timeout=_TIMEOUT)
    with bar, writing(path):
        try:
            cache.fetch(path.name, downloader=download)
        except requests.RequestException as error:
            answer = error.response
            reason = type(error).__name__ if answer is None else f"HTTP {answer.status_code}"
            raise InputError(
                f"{source.url} cannot be downloaded ({reason}); "
                f"fetch it with a browser and put it at {path.absolute()}"
            ) from error
        except ValueError as error:
            raise InputError(
                f"what came from {source.url} is not the published file (its {source.algorithm} differs); "
                f"try again, or put the file at {path.absolute()} by hand"
            ) from error
