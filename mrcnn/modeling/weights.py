"""Weight files in the HDF5 format of Keras 2, as Matterport's are.

The root (or its group `model_weights`) lists its groups in the attribute `layer_names`, one a layer or
a nested model; each group lists its datasets in `weight_names`, in the order of the layer's weights.
Source: keras-team/keras 2.x, keras/saving/hdf5_format.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from nuclei.errors import InputError, unreadable
from nuclei.io.files import atomic_file

_RPN = "rpn_model"  # the nested model of Matterport's files
_CLASS_LAYERS = {"mrcnn_class_logits": 1, "mrcnn_bbox_fc": 4, "mrcnn_mask": 1}  # channels for each class
_WEIGHTLESS = "mrcnn_bbox"  # a reshape in Matterport's network; many scripts list it in `exclude`
_LISTED = 6  # names in a message
_KINDS = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}  # Keras 1
_KIND = re.compile(
    r"(?:^|[/_])(kernel|W|bias|b|gamma|beta|(?:moving|running)_(?:mean|variance|std))(?:_\d+)?(?::0)?$"
)


@dataclass(frozen=True)
class Report:
    """What `read` did: names of layers.

    Attributes:
        loaded: in the file and in the model.
        skipped: in the file only, or excluded.
        left: in the model only, or excluded: as they were.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"loaded {len(self.loaded)} layers"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} of the file not used ({_some(self.skipped)})")
        if self.left:
            parts.append(f"{len(self.left)} left as they were ({_some(self.left)})")
        return "; ".join(parts)


@dataclass(frozen=True)
class _Stored:
    """A layer in a file: its group, and its weights by name in Keras's order."""

    group: str
    values: dict[str, np.ndarray]


def layers(model: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """The layers that own weights themselves, by name, searched through nested models and layers.

    Raises:
        ValueError: two layers share a name.
    """
    found: dict[str, keras.layers.Layer] = {}
    for layer in _nested(model):
        if _own(layer) and found.setdefault(layer.name, layer) is not layer:
            raise ValueError(f"two layers of {model.name} are called {layer.name}; give them different names")
    return found


def _nested(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """A layer and all layers inside it, in the order in which each holds them."""
    # Keras has no public way through layers that hold layers, and this one, left to itself, reverses them.
    inner = model._flatten_layers(include_self=False, recursive=False)
    return [model, *(layer for child in inner for layer in _nested(child))]


def _own(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The weights that belong to a layer and to none inside it, in Keras's order."""
    inner = {id(weight) for nested in _nested(layer)[1:] for weight in nested.weights}
    return [weight for weight in layer.weights if id(weight) not in inner]


def write(path: Path | str, model: keras.Model, dtype: type[np.floating] = np.float32) -> None:
    """Write all weights so that Matterport's code can read them too, with `by_name=True`.

    Args:
        path: replaced when the new file is complete.
        model: built.
        dtype: of the weights in the file; they are read as float32.

    Raises:
        InputError: the file cannot be written.
        ValueError: two layers share a name.
    """
    rpn = next((layer for layer in _nested(model) if layer.name == _RPN), None)
    inside = layers(rpn) if rpn else {}
    contents: dict[str, list[tuple[str, keras.Variable]]] = {}
    for name, layer in layers(model).items():
        pairs = [(f"{name}/{weight.name}:0", weight) for weight in _own(layer)]
        contents.setdefault(_RPN if name in inside else name, []).extend(pairs)
    with atomic_file(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["layer_names"] = np.array(list(contents), dtype="S")
        # Without these Keras 2 takes the file for one of Keras 1 and turns its kernels round.
        file.attrs["keras_version"] = np.bytes_("2.2.4")
        file.attrs["backend"] = np.bytes_("tensorflow")
        for group, pairs in contents.items():
            file.create_group(group).attrs["weight_names"] = np.array([name for name, _ in pairs], dtype="S")
            for name, weight in pairs:
                file[group][name] = weight.numpy().astype(dtype)


def read(
    path: Path | str, model: keras.Model, by_name: bool = False, exclude: Iterable[str] | None = None
) -> Report:
    """Load the weights of a file that Keras 2, Matterport's code or `write` has made.

    The model changes only where everything fits.

    Args:
        path: the file.
        model: built.
        by_name: False wants every layer of the model in the file; True takes those that are there, without
            a convolution on RGB where the model's images have other channels.
        exclude: layers, or nested models of the file, to leave as they are; implies `by_name`.

    Raises:
        InputError: the file is missing, broken, of another format, or does not fit the model.
        ValueError: a name in `exclude` is neither in the file nor in the model.
    """
    path, excluded = Path(path), set(exclude or ())
    targets = layers(model)
    stored, listed = _read_file(path, targets)
    known = stored.keys() | listed | {layer.name for layer in _nested(model)} | {_WEIGHTLESS}
    if excluded - known:
        unknown = _some(sorted(excluded - known))
        raise ValueError(f"exclude names {unknown}, neither in {path} nor in the model")
    loaded = {
        name: layer
        for name, layer in targets.items()
        if name in stored and not excluded & {name, stored[name].group}
    }
    if by_name:
        loaded = {name: layer for name, layer in loaded.items() if not _is_for_rgb(layer, stored[name])}
    skipped = tuple(name for name in stored if name not in loaded)
    left = tuple(name for name in targets if name not in loaded)
    report = Report(tuple(loaded), skipped, left)
    _check_names(path, report, complete=not (by_name or excluded))
    _check_shapes(path, loaded, stored, excluded)
    for name, layer in loaded.items():
        for weight, value in zip(_own(layer), stored[name].values.values(), strict=True):
            weight.assign(value)
    return report


def _is_for_rgb(layer: keras.layers.Layer, stored: _Stored) -> bool:
    """Whether the file's convolution sees three channels where the model's sees another number of them."""
    theirs, ours = next(iter(stored.values.values())).shape, tuple(_own(layer)[0].shape)
    return len(theirs) == len(ours) == 4 and theirs[2] == 3 != ours[2] and theirs[3] == ours[3]


def _check_names(path: Path, report: Report, complete: bool) -> None:
    """Raise InputError where nothing is to be loaded or, if all must be, not everything."""
    if not report.loaded:
        raise InputError(
            f"{path}: none of its {len(report.skipped)} layers ({_some(report.skipped)}) goes into the "
            f"{len(report.left)} of the model ({_some(report.left)}); is it of another network?"
        )
    if complete and report.left:
        raise InputError(
            f"{path} lacks {len(report.left)} layers of the model ({_some(report.left)}); "
            "by_name=True loads those that are there"
        )


def _check_shapes(
    path: Path, loaded: dict[str, keras.layers.Layer], stored: dict[str, _Stored], excluded: set[str]
) -> None:
    """Raise InputError, naming the first of the layers whose weights differ, and how to load the others."""
    differing = {}
    for name, layer in loaded.items():
        ours = [(_kind(weight.name), tuple(weight.shape)) for weight in _own(layer)]
        theirs = [(_kind(key), value.shape) for key, value in stored[name].values.items()]
        if ours != theirs:
            differing[name] = (theirs, ours)
    if not differing:
        return
    name, (theirs, ours) = next(iter(differing.items()))
    message = f"{path}: layer {name} has {_shapes(theirs)} in the file and {_shapes(ours)} in the model"
    if len(differing) > _LISTED:
        raise InputError(f"{message}; {len(differing)} layers differ: is it of another network?")
    message += _other_classes(name, theirs[0][1], ours[0][1])
    raise InputError(f"{message}; load the others with exclude={sorted(excluded | differing.keys())}")


def _other_classes(layer: str, theirs: tuple[int, ...], ours: tuple[int, ...]) -> str:
    """What to say where the kernels of a layer have channels for different numbers of classes."""
    per_class = _CLASS_LAYERS.get(layer)
    if per_class is None or len(theirs) != len(ours) or theirs[-1] == ours[-1]:
        return ""
    return f"; NUM_CLASSES differs: file has {theirs[-1] // per_class}, model {ours[-1] // per_class}"


def _read_file(path: Path, ours: Iterable[str]) -> tuple[dict[str, _Stored], set[str]]:
    """The layers with weights in a file, and all names that it lists."""
    if not path.is_file():
        raise InputError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; give a file of weights"
        )
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise InputError(_not_ours(path, file))
            stored: dict[str, _Stored] = {}
            listed = _texts(root.attrs["layer_names"])
            for group in listed:
                for layer, values in _read_group(root[group], group, ours).items():
                    if layer in stored:
                        raise InputError(f"{path} holds layer {layer} twice; it cannot be loaded")
                    stored[layer] = _Stored(group, values)
            return stored, set(listed)
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        advice = "copy it again, or, if it was trained here, delete it and train again"
        raise unreadable(path, "weights", error, advice) from error


def _read_group(group: h5py.Group, name: str, ours: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    """The weights of each layer of a group: of one layer called `name`, or of those of a nested model."""
    keys = _texts(group.attrs["weight_names"])
    inner = [_inner_layer(key, name, ours) for key in keys]
    if name in ours or len(set(inner)) == 1:
        inner = [name] * len(keys)
    found: dict[str, dict[str, np.ndarray]] = {}
    for layer, key in zip(inner, keys, strict=True):
        found.setdefault(layer, {})[key] = np.asarray(group[key][()], np.float32)
    return found


def _inner_layer(key: str, group: str, ours: Iterable[str]) -> str:
    """The layer that a weight of a nested model belongs to."""
    layer = key.split("/")[-2] if "/" in key else group
    # TensorFlow 1 numbers the weights of the second network of a program, though not its layers.
    plain = re.sub(r"_\d+$", "", layer)
    return plain if layer not in ours and plain in ours else layer


def _not_ours(path: Path, file: h5py.File) -> str:
    if "_layer_checkpoint_dependencies" in file or "layers" in file or path.name.endswith(".weights.h5"):
        return f"{path} is of Keras 3's own format (it has no layer_names); load it with Keras's load_weights"
    return f"{path} holds no weights of a Keras model (it has no layer_names)"


def _kind(name: str) -> str:
    """What a weight is, in Keras 3's words: kernel, gamma, ...; "weight" where its name does not say."""
    found = _KIND.search(name)
    return _KINDS.get(found[1], found[1]) if found else "weight"


def _shapes(weights: list[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{kind} {shape}" for kind, shape in weights)


def _texts(names: Iterable[bytes | str]) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join([*names[:_LISTED], *(["..."] if len(names) > _LISTED else [])])
