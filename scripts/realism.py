"""How like photos the synthetic ones are: colours, contrast, spectrum, and the activations of VGG-19.

    python scripts/realism.py --photos DIR                      # a table; other photos are the measure of what is near
    python scripts/realism.py --photos DIR --sheet sheet.jpg    # and pictures, for the eye

Photos are divided into two halves. The synthetic ones and the second half are both held against the first.
Activations: the Fréchet distance of their Gaussians, over the mean square of the photos' activations.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from allaprima.models.vgg import VGGFeatures, load_vgg
from allaprima.pictures import Frame, write_picture
from allaprima.terminal import console, show_table
from allaprima.train.evaluate import YARDSTICK_LAYERS
from allaprima.train.photos import Crops, list_photos, to_frame, to_tensor
from allaprima.train.synthetic import synthetic_photo

Moments = dict[str, tuple[Tensor, Tensor]]
"""Layer -> mean (C) and mean products (C, C) of its activations."""


def main() -> None:
    """Parse the arguments, measure, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--count", type=int, default=128, help="photos in a half, and synthetic ones")
    parser.add_argument("--size", type=int, default=224, help="side of the squares, px")
    parser.add_argument("--sheet", type=Path, help="picture to write: synthetic ones above, photos below")
    options = parser.parse_args()
    halves = photo_squares(options.photos, 2 * options.count, options.size)
    started = time.process_time()
    synthetic = [synthetic_photo(seed=0, number=i, size_px=options.size) for i in range(options.count)]
    console.print(
        f"{1e3 * (time.process_time() - started) / options.count:.0f} ms of a processor for a synthetic photo"
    )
    vgg, _ = load_vgg(YARDSTICK_LAYERS, weights=options.vgg_weights)
    show(halves[::2], {"other photos": halves[1::2], "synthetic": synthetic}, vgg)
    if options.sheet:
        rows = [np.concatenate(kind[at : at + 8], 1) for kind in (synthetic, halves) for at in (0, 8)]
        write_picture(options.sheet, np.concatenate([row for row in rows if row.shape == rows[0].shape]))


def photo_squares(folder: Path, count: int, size_px: int) -> list[Frame]:
    """Crops as a training takes them, of photos spread over the folder."""
    paths = list_photos(folder, shorter_px=size_px // 2).paths
    crops = Crops(paths, size_px=size_px, flip=True, seed=0)
    return [to_frame(crops[i * len(paths) // count, i]["photo"][None] / 255) for i in range(count)]


def show(photos: Sequence[Frame], others: dict[str, Sequence[Frame]], vgg: VGGFeatures) -> None:
    """A column for each kind."""
    table = Table("", "photos", *others)
    kinds = [photos, *others.values()]
    for name, measure in PIXELS.items():
        spreads = (np.percentile([measure(frame) for frame in kind], [10, 50, 90]) for kind in kinds)
        table.add_row(f"{name}: 10 %, median, 90 %", *("  ".join(f"{value:.3g}" for value in s) for s in spreads))
    found = [moments(kind, vgg) for kind in kinds]
    for layer in vgg.layers:
        table.add_row(layer, "0", *(f"{frechet(found[0][layer], other[layer]):.4f}" for other in found[1:]))
    show_table(table)


def luma(frame: Frame) -> np.ndarray:
    """(H, W) float32."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)


def slope(frame: Frame) -> float:
    """Exponent of the power spectrum of the luma; of photos about -2.5."""
    grey, side = luma(frame), len(frame)
    window = np.hanning(side)
    power = np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean()) * window * window[:, None]))) ** 2
    y, x = np.indices(power.shape) - side // 2
    ring = np.hypot(x, y).astype(int).ravel()
    profile = np.bincount(ring, power.ravel()) / np.bincount(ring)
    range_ = np.arange(4, int(0.4 * side))
    return float(np.polyfit(np.log(range_), np.log(profile[range_] + 1e-3), 1)[0])


def kurtosis(frame: Frame) -> float:
    """Of differences of neighbours: how rare and strong edges are; of noise 3."""
    difference = np.diff(luma(frame), axis=1)
    return float(((difference - difference.mean()) ** 4).mean() / (difference.var() + 1e-6) ** 2)


PIXELS: dict[str, Callable[[Frame], float]] = {
    "luma": lambda frame: float(luma(frame).mean()),
    "contrast": lambda frame: float(luma(frame).std()),
    "saturation": lambda frame: float(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 1].mean()),
    "spectrum": slope,
    "edges": kurtosis,
}


@torch.inference_mode()
def moments(frames: Sequence[Frame], vgg: VGGFeatures) -> Moments:
    """Over all places of all pictures."""
    means: dict[str, list[Tensor]] = {layer: [] for layer in vgg.layers}
    products: dict[str, list[Tensor]] = {layer: [] for layer in vgg.layers}
    for frame in frames:
        for layer, activation in vgg(to_tensor(frame)).items():
            places = activation[0].flatten(1)  # (C, HW)
            means[layer].append(places.mean(1))
            products[layer].append(places @ places.T / places.shape[1])
    return {name: (torch.stack(means[name]).mean(0), torch.stack(products[name]).mean(0)) for name in vgg.layers}


def frechet(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """Of two Gaussians with these moments, over the mean square of the first (Dowson and Landau 1982)."""
    (mean, products), (other_mean, other_products) = ([part.double() for part in pair] for pair in (first, second))
    covariance, other = products - torch.outer(mean, mean), other_products - torch.outer(other_mean, other_mean)
    root = _root(covariance)
    apart = (mean - other_mean).square().sum() + (covariance + other - 2 * _root(root @ other @ root)).trace()
    return float(apart / products.trace())


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


if __name__ == "__main__":
    main()
