"""InstanSeg, trained from random weights with its own losses: `python -m benchmarks.peers.instanseg_peer`.

Source: Goldsborough et al., "InstanSeg: an embedding-based instance segmentation algorithm optimized for
accurate, efficient and portable cell segmentation", arXiv 2408.15954, 2024; the defaults of
instanseg/scripts/train.py. Its weights for H&E, brightfield_nuclei, are downloaded from GitHub, not installed
by pip. They see images at 0.5 um/px, and so does what is trained here; images are taken for 40x.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.peers.common import run_peer
from benchmarks.peers.peer import Lesson, Pair, Peer
from mrcnn.data.augment import turn

NAME = "instanseg"
WEIGHTS = "weights.pt"  # to begin another training with
MODEL = "instanseg.pt"  # TorchScript with all of the post-processing, as released models are
PIXEL_SIZE = 0.25  # um, of patches and images: 40x
MODEL_PIXEL_SIZE = 0.5  # um, of brightfield_nuclei
N_SIGMA, MLP_WIDTH = 2, 5
WINDOW = 64  # px around a nucleus, as it segments; its default of 128 to train with converges too slowly
NETWORK = {
    "model_str": "InstanSeg_UNet",
    "dim_in": 3,
    "layers": (32, 64, 128, 256),
    "norm": "BATCH",
    "dim_coords": 2,
    "n_sigma": N_SIGMA,
    "dim_seeds": 1,
    "multihead": False,
    "cells_and_nuclei": False,
}
SIDE, DIVISOR = 256, 16  # px at MODEL_PIXEL_SIZE, of a training patch; three poolings halve it
BATCH, CLIP = 3, 20
LEARNING_RATE = 3e-3  # three times its default, since minutes are few
HOT_START = 3333  # steps with the losses that converge quickly: 10 epochs of 1,000 patches


def train(folder: Path, pairs: list[Pair], lesson: Lesson) -> dict:
    """Fit for its time and keep the last weights; the first losses are those of InstanSeg's hot start."""
    import torch
    from instanseg.utils.loss.instanseg_loss import InstanSeg, InstanSeg_Torchscript
    from instanseg.utils.model_loader import build_model_from_dict

    rng, device = np.random.default_rng(lesson.seed), "cuda" if torch.cuda.is_available() else "cpu"
    network = build_model_from_dict(dict(NETWORK), random_seed=lesson.seed)
    losses = InstanSeg(N_SIGMA, device=device, binary_loss_fn_str="dice_loss", window_size=WINDOW)
    network = losses.initialize_pixel_classifier(network, MLP_width=MLP_WIDTH).to(device).train()
    if lesson.start:
        network.load_state_dict(torch.load(lesson.start / WEIGHTS, weights_only=True))
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE * lesson.rate)
    rescaled = [prepared(*pair) for pair in pairs]
    steps, began = 0, time.monotonic()
    with tqdm(total=round(lesson.seconds), desc=NAME, unit="s", mininterval=10) as bar:
        while time.monotonic() - began < lesson.seconds:
            if steps == HOT_START:
                losses.update_seed_loss("l1_distance")
                losses.update_binary_loss("lovasz_hinge")
            images, labels = (torch.from_numpy(part).to(device) for part in batch(rescaled, rng))
            loss = losses(network(images), labels).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            steps += 1
            bar.set_postfix(step=steps, loss=f"{loss.item():.2f}", refresh=False)
            bar.update(min(round(time.monotonic() - began), bar.total) - bar.n)
    torch.save(network.state_dict(), folder / WEIGHTS)
    whole = InstanSeg_Torchscript(network.cpu(), pixel_size=MODEL_PIXEL_SIZE, n_sigma=N_SIGMA)
    torch.jit.script(whole).save(str(folder / MODEL))
    return {"steps": steps, "um_per_px": MODEL_PIXEL_SIZE}


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The trained model; InstanSeg splits images into tiles from the size on at which it does by itself."""
    import torch
    from instanseg import InstanSeg

    tool = InstanSeg(torch.jit.load(str(folder / MODEL)), verbosity=0)

    def segment(image: np.ndarray) -> np.ndarray:
        small = image.size < tool.small_image_threshold
        evaluate = tool.eval_small_image if small else tool.eval_medium_image
        labels = evaluate(image, pixel_size=PIXEL_SIZE, return_image_tensor=False)
        return labels[0, 0].cpu().numpy().astype(np.int32)

    return segment


def prepared(image: np.ndarray, labels: np.ndarray) -> Pair:
    """Both at MODEL_PIXEL_SIZE; (H, W, 3) uint8 -> float32, percentiles 0.1 and 99.9 of channels at 0, 1."""
    low, high = np.percentile(image, (0.1, 99.9), axis=(0, 1))
    image = ((image - low) / np.maximum(high - low, 1e-3)).astype(np.float32)
    size = tuple(round(length * PIXEL_SIZE / MODEL_PIXEL_SIZE) for length in labels.shape[::-1])
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), labels


def batch(pairs: list[Pair], rng: np.random.Generator) -> Pair:
    """Random turned windows: images (BATCH, 3, S, S) float32 and labels (BATCH, 1, S, S) int32."""
    side = min(SIDE, *(min(labels.shape) for _, labels in pairs)) // DIVISOR * DIVISOR
    images, labels = [], []
    for number in rng.integers(len(pairs), size=BATCH):
        image, instances = pairs[number]
        image, instances = turn(image, instances, rng)
        top, left = (rng.integers(length - side + 1) for length in instances.shape)
        window = np.s_[top : top + side, left : left + side]
        images.append(image[window].transpose(2, 0, 1))
        labels.append(instances[window][None])
    return np.stack(images), np.stack(labels)


PEER = Peer(NAME, ("instanseg-torch", "torch"), "random", train, load)

if __name__ == "__main__":
    run_peer(PEER, __doc__)
