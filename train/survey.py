"""What a folder of photos is worth for training: sizes, formats, and what is broken, grey or there twice.

Every photo is decoded once, on several threads. Near-duplicates are found by perceptual hash, after the DCT hash of
Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010). `allaprima photos DIR` shows it.
"""

import os
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..pictures import Frame, read_header, read_picture
from .config import DEFAULT_STEPS, TrainConfig, smallest_photo_px

NEAR_BITS = 6
"""Hashes that differ in so many of 64 bits are one photo. On 2,049 different photos no two were nearer than 10; saved
again as JPEG 40, at half the size or in another gamma, all stayed within 6, with 3 % cut off 94 of 100."""
FEW, MANY = 200, 1000  # photos: fewer than FEW teach too little, more than MANY no longer matter much
MANY_SHARE = 0.2  # of all photos: that many grey or double ones are worth a word

_LOOK_PX = 32  # what grey and hash are judged at
_GREY_LEVELS = 6  # R, G and B of a grey photo differ by no more, but for 1 % of it
_HASH_SIDE = 8
_MOST_PAIRS = 1 << 20  # compared at once
_SIDES_PX = (128, 256, 512, 1024, 2048, 4096)

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Photo:
    """One file."""

    path: Path
    problem: str | None = None
    """Why it cannot be read; the rest then says nothing."""
    format: str = ""
    """JPEG, PNG or WEBP."""
    shorter_px: int = 0
    """Its shorter side."""
    grey: bool = False
    """It has no colours."""
    hash: int = 0
    """64 bits that change little when the photo is scaled, compressed or brightened."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds, for trainings with crops of `crop_px`."""

    crop_px: int
    readable: list[Photo]
    broken: list[Photo]
    small: list[Photo]
    """Readable, but with a shorter side below `smallest_photo_px`: a training leaves them out."""
    grey: list[Photo]
    """Of those that a training uses."""
    duplicates: list[list[Photo]]
    """Of those that a training uses: groups of near-duplicates."""

    @property
    def different(self) -> int:
        """How many different photos a training would see."""
        return len(self.readable) - len(self.small) - self.superfluous

    @property
    def superfluous(self) -> int:
        """How many near-duplicates there are beside the first of each group."""
        return sum(len(group) - 1 for group in self.duplicates)

    @property
    def formats(self) -> dict[str, int]:
        """Format -> how many readable photos."""
        return dict(Counter(photo.format for photo in self.readable).most_common())

    @property
    def sizes(self) -> list[tuple[int, int | None, int]]:
        """(from, below, how many readable photos) for ranges of the shorter side in px; None: no upper end."""
        edges = [0, *sorted({smallest_photo_px(self.crop_px), *_SIDES_PX})]
        counts = np.histogram([photo.shorter_px for photo in self.readable], [*edges, np.inf])[0]
        return list(zip(edges, [*edges[1:], None], map(int, counts), strict=True))


def look_at(paths: Sequence[Path], *, threads: int | None = None) -> Generator[Photo, None, None]:
    """Yield what there is to say of each file, in order; a few are read ahead."""
    threads = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        under_way: deque[Future[Photo]] = deque()
        try:
            for path in paths:
                under_way.append(pool.submit(look, path))
                if len(under_way) > 4 * threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def look(path: Path) -> Photo:
    """Decode one file, with the limits that hold for all pictures."""
    try:
        frame = read_picture(path, shorter_px=2 * _LOOK_PX)
    except InputError as error:
        return Photo(path, problem=str(error))
    header = read_header(path)
    small = np.asarray(cv2.resize(frame, (_LOOK_PX, _LOOK_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    shorter_px = min(header.width, header.height)
    return Photo(path, format=header.format, shorter_px=shorter_px, grey=_is_grey(small), hash=perceptual_hash(small))


def take_stock(photos: Sequence[Photo], *, crop_px: int = TrainConfig.size) -> Survey:
    """Sort what was looked at."""
    readable = [photo for photo in photos if photo.problem is None]
    small = [photo for photo in readable if photo.shorter_px < smallest_photo_px(crop_px)]
    usable = [photo for photo in readable if photo.shorter_px >= smallest_photo_px(crop_px)]
    groups = near_duplicates(np.array([photo.hash for photo in usable], dtype=np.uint64))
    return Survey(
        crop_px=crop_px,
        readable=readable,
        broken=[photo for photo in photos if photo.problem is not None],
        small=small,
        grey=[photo for photo in usable if photo.grey],
        duplicates=[[usable[i] for i in group] for group in groups],
    )


def verdict(survey: Survey) -> list[str]:
    """Whether that is enough to train on, and what to do: a sentence each."""
    count = survey.different
    crops = DEFAULT_STEPS * TrainConfig.batch
    shown = f"{crops} of them" if crops < count else f"each {crops / max(count, 1):.1f} times"
    what = f"{count:,} different photos serve for training at --size {survey.crop_px}"
    if count == 0:
        says = ["nothing to train on: add photos, or download some (allaprima photos --coco DIR)"]
    elif count < FEW:
        says = [f"too few: {what}, some hundreds should; add others, or download some (allaprima photos --coco DIR)"]
    else:
        enough = "enough to begin with" if count < MANY else "enough"
        says = [f"{enough}: {what}; {DEFAULT_STEPS} steps of {TrainConfig.batch} show {shown}"]
    if survey.broken:
        says.append("broken files do no harm, a training passes over them")
    if len(survey.small) > MANY_SHARE * len(survey.readable):
        says.append(f"many are too small: a --size of less than {survey.crop_px} takes in more")
    if len(survey.grey) > MANY_SHARE * count:
        says.append("many are grey: the network will know little of colours, so add photos in colour")
    if survey.superfluous > MANY_SHARE * count:
        says.append("many are there more than once: they count for more than the others, so remove all but one each")
    return says


def perceptual_hash(picture: Frame) -> int:
    """(H, W, 3) uint8 RGB -> 64 bits: which of the 8x8 lowest frequencies of its luma are above their median."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (_LOOK_PX, _LOOK_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    lowest = cv2.dct(grey)[:_HASH_SIDE, :_HASH_SIDE].ravel()
    bits = lowest > np.median(lowest[1:])  # the first is the mean
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicates(hashes: Hashes) -> list[list[int]]:
    """Groups of indices whose hashes differ by `NEAR_BITS` at most, also by way of others of the group.

    The bits are cut into NEAR_BITS + 1 bands. Two near hashes agree in one band at least, so only those that share a
    band are compared: seconds for 100,000 photos.
    """
    different, which = np.unique(hashes, return_inverse=True)
    leader = list(range(len(different)))
    for band in np.array_split(np.arange(64, dtype=np.uint64), NEAR_BITS + 1):
        mask = np.bitwise_or.reduce(np.uint64(1) << band)
        for bucket in _equal(different & mask):
            for a, b in _near_pairs(different[bucket]):
                leader[_leader(leader, bucket[a])] = _leader(leader, bucket[b])
    groups: dict[int, list[int]] = {}
    for index, place in enumerate(which.tolist()):
        groups.setdefault(_leader(leader, place), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def _equal(keys: Hashes) -> Iterator[npt.NDArray[np.intp]]:
    """The indices of equal keys, for each key that occurs more than once."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    yield from (bucket for bucket in np.split(order, starts) if len(bucket) > 1)


def _near_pairs(hashes: Hashes) -> Iterator[tuple[int, int]]:
    rows = max(1, _MOST_PAIRS // len(hashes))
    for start in range(0, len(hashes), rows):
        distances = _count_bits(hashes[start : start + rows, None] ^ hashes)
        near = np.argwhere(distances <= NEAR_BITS)
        yield from ((start + a, b) for a, b in near.tolist() if start + a < b)


def _count_bits(words: Hashes) -> Hashes:
    """How many bits of each are set: sums over pairs, nibbles, bytes, all (NumPy 1 cannot by itself)."""
    pairs, nibbles, octets, ones = (np.uint64(int(byte * 8, 16)) for byte in ("55", "33", "0f", "01"))
    words = words - (words >> np.uint64(1) & pairs)
    words = (words & nibbles) + (words >> np.uint64(2) & nibbles)
    return ((words + (words >> np.uint64(4)) & octets) * ones) >> np.uint64(56)


def _leader(leader: list[int], index: int) -> int:
    """The one that stands for the group of `index`; on the way there, paths are shortened."""
    while leader[index] != index:
        leader[index] = leader[leader[index]]
        index = leader[index]
    return index


def _is_grey(picture: Frame) -> bool:
    spread = picture.max(axis=2) - picture.min(axis=2)
    return bool(np.percentile(spread, 99) <= _GREY_LEVELS)
