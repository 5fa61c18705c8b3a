"""Photos for training, a folder's or made up, as an endless, seeded, resumable stream of crops.

Which photo is number n of the stream, and how it is cropped, depends on (seed, n) alone. So a training resumes in
mid-epoch without saved random states, and any number of workers or processes sees the same images in the same step.
"""

import hashlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..errors import InputError
from ..pictures import Frame, find_pictures, read_header, read_picture
from .synthetic import synthetic_photo

ZOOM = 1.5  # a photo's shorter side is scaled to between 1 and ZOOM times the crop
LONGEST = 4  # times the shorter side: what is longer would take too much memory at once
MOST_VIEWS = 4
HELD_OUT = 8  # photos kept for validation where none are given, out of at least HELD_OUT_FROM
HELD_OUT_FROM = 40


class Sample(TypedDict):
    """One item of the stream, and with a leading batch dimension one batch."""

    photo: Tensor
    """(3, size, size) uint8 RGB."""
    unreadable: Tensor
    """Index of a photo that could not be decoded and was replaced by another; -1 for none. int64."""


@dataclass
class PhotoList:
    """What a folder holds: usable photos, and the others with the reason."""

    paths: list[Path]
    skipped: dict[str, str] = field(default_factory=dict)
    """Path -> why it is not used."""

    @property
    def fingerprint(self) -> str:
        """Short hash of the names, in order: a resumed run must see the same list."""
        return hashlib.sha256("\n".join(path.name for path in self.paths).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.paths)

    def crops(self, *, size_px: int, flip: bool, seed: int) -> Dataset[Sample]:
        """What `Stream` draws from."""
        return Crops(self.paths, size_px=size_px, flip=flip, seed=seed)

    def split(self, count: int) -> tuple["PhotoList", list[Path]]:
        """Hold out `count` photos, evenly spaced."""
        chosen = {self.paths[i * len(self.paths) // count] for i in range(count)} if count else set()
        return PhotoList([p for p in self.paths if p not in chosen], self.skipped), sorted(chosen)


class SyntheticPhotos(PhotoList):
    """No folder's: one photo, as it were, that is another each time it is drawn."""

    def __init__(self) -> None:
        super().__init__([])

    def __len__(self) -> int:
        return 1

    @property
    def fingerprint(self) -> str:
        """Short hash of one of them: another version of this program, or of its libraries, may make up others."""
        return hashlib.sha256(synthetic_photo(seed=0, number=0, size_px=64).tobytes()).hexdigest()[:16]

    def crops(self, *, size_px: int, flip: bool, seed: int) -> Dataset[Sample]:
        """What `Stream` draws from; they need no mirroring."""
        return MadeUp(size_px=size_px, seed=seed)


def list_photos(folder: Path, *, shorter_px: int, on_file: Callable[[int, int], None] | None = None) -> PhotoList:
    """Every usable photo below `folder`; damaged ones and those with a shorter side below `shorter_px` are set aside.

    Only headers are read here. `on_file(done, total)` is called for each file.

    Raises:
        InputError: no such folder, or nothing usable in it.
    """
    if not folder.is_dir():
        raise InputError(f"photo folder '{folder}' does not exist: give a folder with photos (--photos)")
    files, photos = find_pictures(folder), PhotoList([])
    for number, path in enumerate(files, 1):
        if reason := _why_not(path, shorter_px):
            photos.skipped[str(path)] = reason
        else:
            photos.paths.append(path)
        if on_file:
            on_file(number, len(files))
    if not photos.paths:
        found = f"{len(files)} picture files, none usable" if files else "no JPEG, PNG or WebP"
        first = next((f", the first: {Path(p).name} is {why}" for p, why in photos.skipped.items()), "")
        raise InputError(f"photo folder '{folder}' has {found}{first}: give a folder with photos (--photos)")
    return photos


def divide(photos: PhotoList) -> tuple[PhotoList, list[Path]]:
    """Photos to train on and a few to validate on; of a small collection, those few are trained on as well."""
    if len(photos.paths) < HELD_OUT_FROM:
        return photos, photos.split(min(HELD_OUT, len(photos.paths)))[1]
    return photos.split(HELD_OUT)


def _why_not(path: Path, shorter_px: int) -> str | None:
    try:
        _, width, height = read_header(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "unreadable"
    return None if min(width, height) >= shorter_px else f"tiny ({width}x{height} px, needs {shorter_px})"


class Crops(Dataset[Sample]):
    """(photo index, sample number) -> a random crop; the randomness is that of (seed, sample number)."""

    def __init__(self, paths: Sequence[Path], *, size_px: int, flip: bool, seed: int) -> None:
        self.paths, self.size_px, self.flip, self.seed = paths, size_px, flip, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The crop; where its photo cannot be decoded, one of the next photo, and the index of the bad one."""
        index, number = key
        random = np.random.default_rng((self.seed, number))
        unreadable = -1
        for attempt in range(len(self.paths)):
            at = (index + attempt) % len(self.paths)
            try:
                photo = read_picture(self.paths[at], shorter_px=round(self.size_px * ZOOM))
            except InputError:
                unreadable = index
                continue
            crop = random_crop(photo, self.size_px, random, flip=self.flip)
            return {"photo": torch.from_numpy(crop).permute(2, 0, 1), "unreadable": torch.tensor(unreadable)}
        raise InputError(f"none of the {len(self.paths)} photos can be decoded: give other photos (--photos)")


class MadeUp(Dataset[Sample]):
    """(anything, sample number) -> the synthetic photo of that number."""

    def __init__(self, *, size_px: int, seed: int) -> None:
        self.size_px, self.seed = size_px, seed

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Never the same twice in a training."""
        photo = synthetic_photo(seed=self.seed, number=key[1], size_px=self.size_px)
        return {"photo": torch.from_numpy(photo).permute(2, 0, 1), "unreadable": torch.tensor(-1)}


class Stream(Sampler[list[tuple[int, int]]]):
    """Batches of (photo index, sample number), from batch `start` to batch `stop`: each epoch its own permutation."""

    def __init__(self, photos: int, *, batch: int, start: int, stop: int, seed: int) -> None:
        self.photos, self.batch, self.start, self.stop, self.seed = photos, batch, start, stop, seed
        self.batch_size = batch  # Accelerate looks at these two when it splits batches over processes
        self.drop_last = True

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        orders: dict[int, np.ndarray] = {}
        for batch in range(self.start, self.stop):
            numbers = range(batch * self.batch, (batch + 1) * self.batch)
            yield [(self._photo(number, orders), number) for number in numbers]

    def _photo(self, number: int, orders: dict[int, np.ndarray]) -> int:
        epoch, place = divmod(number, self.photos)
        if epoch not in orders:
            orders.clear()  # a batch spans two epochs at most now and then; redrawing one order is cheap
            orders[epoch] = np.random.default_rng((self.seed, epoch, 1)).permutation(self.photos)
        return int(orders[epoch][place])


def start_worker(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, but only the training's own may answer it; and OpenCV's threads do
    not survive the fork that a worker is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


def random_crop(photo: Frame, size_px: int, random: np.random.Generator, *, flip: bool) -> Frame:
    """(H, W, 3) uint8 -> a (size, size, 3) crop, scaled (up only where the photo is smaller) and perhaps mirrored."""
    shorter = min(photo.shape[:2])
    zoom = random.uniform(1.0, ZOOM)
    side = min(shorter, size_px * shorter / min(shorter, size_px * zoom))  # of the square taken from the photo, in px
    top, left = (random.uniform(0, extent - side) for extent in photo.shape[:2])
    image = Image.fromarray(photo).resize(
        (size_px, size_px), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    crop = np.array(image)
    return crop[:, ::-1].copy() if flip and random.random() < 0.5 else crop


def resize_shorter(picture: Frame, shorter_px: int) -> Frame:
    """(H, W, 3) uint8 -> the same with its shorter side `shorter_px`, the longer one at most `LONGEST` times that."""
    height, width = picture.shape[:2]
    scale = shorter_px / min(height, width)
    return resize(
        picture, min(round(height * scale), LONGEST * shorter_px), min(round(width * scale), LONGEST * shorter_px)
    )


def resize(picture: Frame, height: int, width: int) -> Frame:
    """(H, W, 3) uint8 -> (height, width, 3)."""
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def views(painting: Frame, shorter_px: int) -> Tensor:
    """(H, W, 3) uint8 -> (B, 3, h, w) in 0..1, shorter side `shorter_px`; of a panorama, parts of it."""
    across = painting.shape[1] >= painting.shape[0]
    wide = painting if across else painting.swapaxes(0, 1)
    height, width = wide.shape[:2]
    part = min(width, LONGEST * height)
    count = min(MOST_VIEWS, -(-width // part))
    cuts = [wide[:, left : left + part] for left in np.linspace(0, width - part, count).astype(int)]
    return torch.cat([to_tensor(resize_shorter(cut if across else cut.swapaxes(0, 1), shorter_px)) for cut in cuts])


def middle_crop(photo: Frame, size_px: int) -> Tensor:
    """(H, W, 3) uint8 -> the largest square in its middle as (1, 3, size, size) in 0..1."""
    square = ImageOps.fit(Image.fromarray(photo), (size_px, size_px), Image.Resampling.LANCZOS)
    return to_tensor(np.array(square))


def to_tensor(picture: Frame) -> Tensor:
    """(H, W, 3) uint8 RGB -> (1, 3, H, W) float32 in 0..1."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def to_frame(picture: Tensor) -> Frame:
    """(1, 3, H, W) RGB in 0..1, what lies outside is clamped -> (H, W, 3) uint8 RGB."""
    pixels = (picture.detach()[0].float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
