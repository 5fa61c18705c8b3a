"""Where the person is: paint only the person, or only what is behind.

    mask = Mask()                                                     # the network that ships, or Mask("other.onnx")
    painted = composite(frame, stylize(frame), mask(frame))           # the person painted
    painted = composite(stylize(frame), frame, mask(frame))           # the background painted

A network says at some 256 px where the person is. Its answer is steadied over time, and brought to the frame's size by
a guided filter (He et al., "Guided Image Filtering", 2010, in its fast form of 2015): its edge moves onto the frame's.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..pictures import Frame
from .providers import open_session
from .stylefile import read_style_file
from .stylizer import describe, one_line, resize, test_picture

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Array = npt.NDArray[Any]
Plane = npt.NDArray[np.float32]
Alpha = npt.NDArray[np.uint8]
"""(H, W): 255 where the person is, 0 where not, between them at the edge."""

PERSON_MODEL = Path(__file__).parent / "masks" / "person.onnx"
"""MediaPipe's network for selfies; masks/person.md says whence."""
_SHORTER_PX, _MULTIPLE_PX = 256, 32  # what a network of any size is fed
_LARGEST_PX = 2048  # what a network of fixed size may ask for: masks need 150 to 1,000
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}

_STILL = 0.15  # of the new answer that counts where nothing moves
_MOVED = 4.0, 16.0  # grey levels of change, above a camera's noise: from here on more of it counts, from there on all
_DOUBT = 0.5  # of a change of mind that counts where the picture shows no reason for it
_CUT = 30.0  # grey levels over the whole picture: another scene
_GUIDE_PX = 5  # of the network's pixels, around each: wider windows tear holes where the person looks like the wall
_GUIDE_NOISE = 12.0  # grey levels: a difference below that is no edge of the frame
_EDGE = 0.15, 0.85  # what the filter leaves beyond is no edge, but a veil over the one and holes in the other


class Mask:
    """Says where the person is, frame after frame of one camera.

    Args:
        path: a segmentation network as ONNX: one picture, float (1, 3, H, W) or (1, H, W, 3) RGB in 0..1, of any or of
            a fixed size, to the person's probability or logit, or to those of background and person.
        provider: as a `Stylizer`'s.
        threads: as a `Stylizer`'s.

    Raises:
        InputError: the file is missing, damaged, unsafe or no such network; no ONNX Runtime; a wrong argument.
    """

    def __init__(self, path: str | Path = PERSON_MODEL, *, provider: str = "auto", threads: int | None = None) -> None:
        self._network = _Network(Path(path), provider, threads)
        self._steady = _Steady()

    def __call__(self, frame: Frame) -> Alpha:
        """The person's place in the next frame, (H, W) uint8.

        Args:
            frame: (H, W, 3) uint8 RGB.

        Raises:
            InputError: the network fails.
        """
        luma = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        height, width = self._network.size(frame)
        small = resize(frame, height, width)
        person = self._network(small)
        small_luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return _refine(self._steady(person, small_luma), small_luma, luma)


def composite(below: Frame, above: Frame, alpha: Alpha) -> Frame:
    """Lay one picture over another: `above` where `alpha` is 255, `below` where it is 0, between them in proportion.

    Args:
        below: (H, W, 3) uint8 RGB.
        above: (H, W, 3) uint8 RGB.
        alpha: (H, W) uint8.

    Returns:
        (H, W, 3) uint8 RGB, rounded to the nearest, in memory of its own.
    """
    weight = alpha.astype(np.float32)
    return np.asarray(cv2.blendLinear(above, below, weight, 255 - weight), dtype=np.uint8)


class _Network:
    """A segmentation network of any layout: small frame in, the person's probability out."""

    def __init__(self, path: Path, provider: str, threads: int | None) -> None:
        self._path = path
        try:
            file = read_style_file(path)
        except InputError as error:
            raise InputError(f"--mask-model: {str(error).replace('style file', 'file')}") from error
        if file.card is not None:
            raise InputError(f"--mask-model: '{path}' is a style: give a network that finds people")
        try:
            self._session, _ = open_session(file.data, provider=provider, threads=threads)
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime's have no common base
            raise InputError(f"--mask-model: '{path}' does not load ({one_line(error)}): export it again") from error
        self._input, self._dtype, self._channels_last, self._fixed = self._read_input(self._session)
        self._output = self._session.get_outputs()[0].name
        self._gives_logits = False
        for picture in (test_picture(13 * 32, 17 * 32), np.zeros((256, 256, 3), np.uint8)):
            self(resize(picture, *self.size(picture)))

    def _read_input(
        self, session: "InferenceSession"
    ) -> tuple[str, npt.DTypeLike, bool, tuple[int | None, int | None]]:
        """Name, precision, whether the channels come last, and height and width where they are fixed."""
        inputs = session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 and len(inputs[0].shape) == 4 else [None] * 4
        channels_last = shape[1] != 3
        batch, channels, *sides = (shape[0], shape[3], *shape[1:3]) if channels_last else shape
        height, width = (side if isinstance(side, int) else None for side in sides)
        fits = all(MIN_SIZE_PX <= side <= _LARGEST_PX for side in (height, width) if side is not None)
        if channels not in {3} or (isinstance(batch, int) and batch != 1) or inputs[0].type not in _FLOATS or not fits:
            raise InputError(
                f"--mask-model: '{self._path}' takes {describe(inputs)}: expected one float picture, (1, 3, H, W) or "
                f"(1, H, W, 3), of at most {_LARGEST_PX} px"
            )
        return inputs[0].name, _FLOATS[inputs[0].type], channels_last, (height, width)

    def size(self, frame: Frame) -> tuple[int, int]:
        """Height and width to show a frame at."""
        scale = min(1.0, _SHORTER_PX / min(frame.shape[:2]))
        height, width = (
            fixed or max(round(side * scale / _MULTIPLE_PX), 1) * _MULTIPLE_PX
            for fixed, side in zip(self._fixed, frame.shape[:2], strict=True)
        )
        return height, width

    def __call__(self, small: Frame) -> Plane:
        """(H, W, 3) uint8 RGB of `size` -> (H, W) in 0..1."""
        picture = small if self._channels_last else small.transpose(2, 0, 1)
        batch = np.multiply(picture[None], 1 / 255, dtype=np.float32).astype(self._dtype, copy=False)
        try:
            [answer] = self._session.run([self._output], {self._input: np.ascontiguousarray(batch)})
        except Exception as error:  # ONNX Runtime's have no common base
            raise InputError(
                f"--mask-model: '{self._path}' fails on {small.shape[1]}x{small.shape[0]} px ({one_line(error)})"
            ) from error
        person = self._person(np.asarray(answer))
        return np.asarray(cv2.resize(person, small.shape[1::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)

    def _person(self, answer: Array) -> Plane:
        """The person's probability, (H, W), from one plane or from those of background and person."""
        planes = answer[0] if answer.ndim == 4 and len(answer) == 1 else answer
        if planes.ndim == 3 and planes.shape[0] not in {1, 2} and planes.shape[2] in {1, 2}:
            planes = planes.transpose(2, 0, 1)
        planes = planes[None] if planes.ndim == 2 else planes
        if planes.ndim != 3 or len(planes) not in {1, 2} or planes.dtype not in {np.dtype(d) for d in _FLOATS.values()}:
            raise InputError(
                f"--mask-model: '{self._path}' answers {answer.dtype} {answer.shape}: expected the person's "
                "probability, (1, 1, H, W), or those of background and person, (1, 2, H, W)"
            )
        planes = np.nan_to_num(planes.astype(np.float32, copy=False))
        # Once they were no probabilities they are logits, whatever the next picture gives.
        in_range = planes.min() > -0.01 and planes.max() < 1.01
        self._gives_logits |= not (in_range and (len(planes) == 1 or np.abs(planes.sum(0) - 1).max() < 0.02))
        person = planes[-1]
        if self._gives_logits:
            logit = planes[1] - planes[0] if len(planes) == 2 else person
            person = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
        return np.asarray(np.clip(person, 0, 1), dtype=np.float32)


class _Steady:
    """A mask that follows the picture: where that moves at once, where it stands still slowly, and a cut forgets all.

    So an edge does not flicker with the camera's noise, and who walks leaves no trail.
    """

    _person: Plane = np.empty((0, 0), np.float32)
    _luma: Plane

    def __call__(self, person: Plane, luma: Plane) -> Plane:
        """Both (H, W); the probability in 0..1, the luma in 0..255."""
        if person.shape == self._person.shape and (change := cv2.absdiff(luma, self._luma)).mean() < _CUT:
            moved = _ramp(cv2.boxFilter(change, -1, (7, 7)), *_MOVED)
            doubt = _DOUBT * _ramp(cv2.absdiff(person, self._person), 0.25, 0.75)
            person = self._person + np.maximum(np.maximum(moved, doubt), _STILL) * (person - self._person)
        self._person, self._luma = person, luma
        return person


def _refine(person: Plane, small_luma: Plane, luma: npt.NDArray[np.uint8]) -> Alpha:
    """The mask at the size of the frame's `luma`, its edges on the frame's, soft."""
    slope, offset = (
        cv2.resize(_mean(plane), luma.shape[::-1], interpolation=cv2.INTER_LINEAR) for plane in _fit(person, small_luma)
    )
    # person = slope * luma + offset; the offset in grey levels, so that the sum is rounded and saturated at 0 and 255.
    grey = cv2.add(cv2.multiply(luma, slope, dtype=cv2.CV_32F), offset, dtype=cv2.CV_8U)
    return np.asarray(cv2.LUT(grey, _SOFT_EDGE), dtype=np.uint8)


def _fit(person: Plane, luma: Plane) -> tuple[Plane, Plane]:
    """Slope and offset of the line from luma to 255 * person that fits best around each pixel."""
    mean_luma, mean_person = _mean(luma), _mean(255 * person)
    covariance = _mean(luma * 255 * person) - mean_luma * mean_person
    variance = _mean(luma * luma) - mean_luma * mean_luma
    slope = np.asarray(covariance / (variance + _GUIDE_NOISE**2), dtype=np.float32)
    return slope, mean_person - slope * mean_luma


def _mean(plane: Plane) -> Plane:
    return np.asarray(cv2.blur(plane, (_GUIDE_PX, _GUIDE_PX)), dtype=np.float32)


def _ramp(values: Any, start: float, end: float) -> Plane:
    """0 up to `start`, 1 from `end` on, smooth between."""
    t = np.clip((np.asarray(values, dtype=np.float32) - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


_SOFT_EDGE = np.round(255 * _ramp(np.arange(256) / 255, *_EDGE)).astype(np.uint8)
