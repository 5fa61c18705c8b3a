"""A style file as a function from frame to frame.

    stylize = Stylizer("starry_night.onnx")
    painted = stylize(frame)                      # (H, W, 3) uint8 RGB in, the same out

Files of our contract (contract.py) take frames as they are. Other people's fast-neural-style networks (float NCHW RGB)
differ in value range, in the sizes they accept and in precision: read from the file where it tells, probed by running a
small picture through the network where it does not.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from sys import getrefcount
from threading import Lock
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ..contract import INPUT_NAME, MIN_SIZE_PX, OUTPUT_NAME
from ..errors import InputError
from ..pictures import Frame
from .keep_colours import KeepColours
from .providers import open_session, wanted_provider
from .scene_cuts import SceneCuts
from .slow_norms import LOOKS, PACE, UNIT, given, own, with_slow_norms
from .stylefile import StyleFile, read_style_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding

    from ..contract import StyleCard

Array = npt.NDArray[Any]

RANGES = ("auto", "255", "1")
_IO_SHAPES = {
    "frame": ("tensor(uint8)", "uint8 (N, H, W, 3)", 3),
    "tensor": ("tensor(float)", "float32 (N, 3, H, W)", 1),
}
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_FILM_PACE = 0.3  # of the way to a frame's own statistics,
_FILM_EVERY = 4  # frames: each move changes what an int8 network rounds, all over the picture
_LEAP = 0.2  # mean change of a variance's logarithm: the light was switched; 0.12 in the wildest clip tried
_LEAST_VARIANCE = 1e-5
_KEPT_PAINTINGS = 4  # as many as a live session has under way
_OTHER_SHAPE = re.compile(r"computed output shape for this run is \{([\d,]+)\}")  # not that of the memory given
_NO_MEMORY = ("failed to allocate", "bad_alloc", "bad allocation", "out of memory")


class Stylizer:
    """A style, ready to paint frames.

    Args:
        path: a style file of ours, or a fast-neural-style network as ONNX.
        provider: `auto` (the best that is there), `cpu`, `cuda`, `tensorrt`, `directml` or `coreml`. One that does not
            load is replaced by the CPU, with a RuntimeWarning.
        threads: CPU threads; None lets ONNX Runtime choose.
        range_: the pixel values that another's network takes and gives: `255` (0..255), `1` (0..1) or `auto`.
        keep_memory: keep the CPU's working memory between frames: 10 % faster. Without, large photos take 40 % less.
        keep_colours: the strokes of the painting in the colours of the frame.
        film: frames come one after the other, as of one film: what enters in one corner does not repaint the others at
            once (`slow_norms`). A scene cut begins anew, and so does `forget`. For our own files of `io = frame`, on a
            CPU; others paint a film as they paint photos.

    Raises:
        InputError: the file is missing, damaged, unsafe or not a style; no ONNX Runtime; a wrong argument.
    """

    path: Path
    name: str
    """The style's name, or the file's where it has none."""
    card: "StyleCard | None"
    """What a file of ours says about itself; None for others."""
    provider: str
    """The provider that really loaded."""

    def __init__(
        self,
        path: str | Path,
        *,
        provider: str = "auto",
        threads: int | None = None,
        range_: str = "auto",
        keep_memory: bool = True,
        keep_colours: bool = False,
        film: bool = False,
    ) -> None:
        if range_ not in RANGES:
            raise InputError(f"input range '{range_}' is unknown: choose one of {', '.join(RANGES)}")
        file = read_style_file(path)
        self.path, self.card = file.path, file.card
        self.name = file.card.name if file.card else file.path.stem
        self._keep_colours = KeepColours() if keep_colours else None
        try:
            slow = film and _can_be_slow(file) and wanted_provider(provider) == "cpu"
            model, norms = with_slow_norms(file.data) if slow else (file.data, 0)
            session, self.provider = open_session(model, provider=provider, threads=threads, keep_memory=keep_memory)
            self._paint = _open_network(file, session, range_, norms)
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime's have no common base; a name that is not UTF-8 comes as another
            raise InputError(f"style file '{path}' does not load ({one_line(error)}): export it again") from error

    def __call__(self, frame: Frame) -> Frame:
        """Paint one frame.

        Args:
            frame: (H, W, 3) uint8 RGB, H and W at least 16; any strides.

        Returns:
            (H, W, 3) uint8 RGB, an array of its own for as long as you hold it.

        Raises:
            ValueError: another shape, dtype or size.
            InputError: the network fails, for want of memory for example.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape[:2]) < MIN_SIZE_PX:
            raise ValueError(
                f"frame: got {frame.shape} {frame.dtype}, expected (H, W, 3) uint8 with H and W at least {MIN_SIZE_PX}"
            )
        painted = self._paint(frame)
        return self._keep_colours(painted, frame) if self._keep_colours else painted

    def forget(self) -> None:
        """Of a film: the next frame begins another one."""
        if isinstance(self._paint, _FilmNetwork):
            self._paint.forget()

    def __repr__(self) -> str:
        return f"Stylizer({str(self.path)!r}, provider={self.provider!r})"


def _can_be_slow(file: StyleFile) -> bool:
    """Whether a file's norms are as `with_slow_norms` expects them."""
    return file.card is not None and file.card.io == "frame" and file.card.network.get("precision") != "fp16"


def _open_network(file: StyleFile, session: "InferenceSession", range_: str, norms: int) -> Callable[[Frame], Frame]:
    if file.card is None:
        return _open_foreign(file, session, range_)
    if range_ != "auto":
        raise InputError(f"style file '{file.path}' has a fixed input range: leave out --input-range")
    _check_ours(file, session, norms)
    if norms:
        return _FilmNetwork(file, session, norms)
    if file.card.io == "frame":
        return _FrameNetwork(file, session)
    return _FloatNetwork(file, session, multiple=1)


def _check_ours(file: StyleFile, session: "InferenceSession", norms: int) -> None:
    assert file.card is not None
    kind, text, channel_axis = _IO_SHAPES[file.card.io]
    slow = {LOOKS, PACE, UNIT, *map(given, range(norms)), *map(own, range(norms))}
    for all_nodes, name in ((session.get_inputs(), INPUT_NAME), (session.get_outputs(), OUTPUT_NAME)):
        nodes = [node for node in all_nodes if node.name not in slow]
        got = describe(nodes)
        [node] = nodes if len(nodes) == 1 else [None]
        if node is None or (node.name, node.type) != (name, kind) or _channels(node.shape, channel_axis) != 3:
            raise InputError(f"style file '{file.path}' has {got}: expected {name} {text}, export it again")


def _channels(shape: list[Any], axis: int) -> Any:
    return shape[axis] if len(shape) == 4 else None


class _Network:
    """A session that is fed one array and gives one."""

    def __init__(self, file: StyleFile, session: "InferenceSession") -> None:
        self._path = file.path
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [session.get_outputs()[0].name]

    def _run(self, batch: Array, size: tuple[int, int]) -> Array:
        """The network's answer; `size` (H, W) is the frame's, for messages."""
        with self._explained(size):
            [answer] = self._session.run(self._outputs, {self._input: batch})
        return np.asarray(answer)

    @contextmanager
    def _explained(self, size: tuple[int, ...]) -> Iterator[None]:
        """Turn what ONNX Runtime raises on a frame of `size` into one line."""
        try:
            yield
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            height, width = size
            if isinstance(error, MemoryError) or any(text in str(error).lower() for text in _NO_MEMORY):
                raise InputError(
                    f"not enough memory for '{self._path.name}' to paint {width}x{height} px: choose a smaller --size"
                ) from error
            reason = one_line(error)
            raise InputError(f"style file '{self._path}' fails on {width}x{height} px ({reason})") from error

    def _expect(self, got: tuple[int, ...], shape: tuple[int, ...]) -> None:
        if got != shape:
            raise InputError(
                f"style file '{self._path}' answers {got} to {shape}: expected the same size, export it again"
            )


class _FrameNetwork(_Network):
    """`io = frame`: uint8 (1, H, W, 3) in and out; read where the frame lies, painted into memory that is used again.

    A painting's memory is taken for a later one when nobody holds the painting any more.
    """

    def __init__(self, file: StyleFile, session: "InferenceSession") -> None:
        super().__init__(file, session)
        self._memory: list[tuple[Frame, IOBinding]] = []
        self._lock = Lock()  # two threads may paint with one stylizer

    def __call__(self, frame: Frame) -> Frame:
        batch = np.ascontiguousarray(frame)[None]
        painting, binding = self._free_memory(frame.shape)
        binding.bind_cpu_input(self._input, batch)
        with self._explained(frame.shape[:2]):
            try:
                self._run_bound(binding)
            except Exception as error:  # ONNX Runtime's exceptions have no common base
                if other := _OTHER_SHAPE.search(str(error)):
                    self._expect(tuple(map(int, other[1].split(","))), batch.shape)
                raise
        return painting

    def _run_bound(self, binding: "IOBinding") -> None:
        self._session.run_with_iobinding(binding)

    def _free_memory(self, shape: tuple[int, ...]) -> "tuple[Frame, IOBinding]":
        """Memory for a painting that nobody holds, and the session's binding to it."""
        with self._lock:
            for painting, binding in self._memory:
                if painting.shape == shape and getrefcount(painting) == _UNHELD:
                    return painting, binding
            painting, binding = np.empty(shape, np.uint8), self._session.io_binding()
            binding.bind_output(self._outputs[0], "cpu", 0, np.uint8, (1, *shape), painting.ctypes.data)
            self._memory = [*self._memory[-_KEPT_PAINTINGS + 1 :], (painting, binding)]
            return painting, binding


class _FilmNetwork(_FrameNetwork):
    """The same for the frames of one film, one after the other, whose norms are slow.

    Args:
        file: the style file.
        session: of what `with_slow_norms` made of it.
        norms: how many there are.
    """

    _statistics: list[Array]

    def __init__(self, file: StyleFile, session: "InferenceSession", norms: int) -> None:
        super().__init__(file, session)
        self._norms, self._unit = range(norms), np.ones(1, np.float32)
        self.forget()

    def forget(self) -> None:
        """The next frame begins a film."""
        self._cuts = SceneCuts()
        self._begin()

    def _begin(self) -> None:
        self._frames, self._statistics = 0, [np.zeros((1, 1, 1, 2), np.float32) for _ in self._norms]

    def __call__(self, frame: Frame) -> Frame:
        if self._cuts(frame):
            self._begin()
        return super().__call__(frame)

    def _run_bound(self, binding: "IOBinding") -> None:
        looks = self._frames % _FILM_EVERY == 0
        pace = 0.0 if not looks else _FILM_PACE if self._frames else 1.0
        for name, value in ((LOOKS, np.array([looks])), (PACE, np.array([pace], np.float32)), (UNIT, self._unit)):
            binding.bind_cpu_input(name, value)
        for norm in self._norms:
            binding.bind_cpu_input(given(norm), self._statistics[norm])
            binding.bind_output(own(norm), "cpu")
        super()._run_bound(binding)
        self._frames += 1
        if looks:
            self._look([value.numpy() for value in binding.get_outputs()[1:]], pace)

    def _look(self, statistics: list[Array], pace: float) -> None:
        pairs = list(zip(self._statistics, statistics, strict=True))
        if pace < 1 and any(_leaps(before, now) for before, now in pairs):
            self._begin()  # with the next frame: what the later norms have seen is half of each light
        else:
            self._statistics = [before + np.float32(pace) * (now - before) for before, now in pairs]


def _leaps(before: Array, now: Array) -> bool:
    first, second = (np.log(statistics[..., 1] + _LEAST_VARIANCE) for statistics in (before, now))
    return float(np.abs(second - first).mean()) > _LEAP


def _references_from_a_list() -> int:
    """What getrefcount says of an array that only a list like `_memory` refers to: it differs among Pythons."""
    for array, _ in [(np.empty(0), None)]:
        return getrefcount(array)
    raise AssertionError


_UNHELD = _references_from_a_list()


class _FloatNetwork(_Network):
    """`io = tensor` and other people's networks: float (1, 3, H, W) in 0..`top` in and out.

    Args:
        file: the style file.
        session: its session.
        top: the value of white, 1 or 255.
        multiple: H and W are padded to a multiple of this by reflection; the painting is cropped back.
        fixed: (H, W) where the network takes only that; the frame is resized to it and the painting back.
        dtype: float32 or float16.
    """

    def __init__(
        self,
        file: StyleFile,
        session: "InferenceSession",
        *,
        top: float = 1.0,
        multiple: int,
        fixed: tuple[int | None, int | None] = (None, None),
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__(file, session)
        self.top, self._multiple, self._fixed, self._dtype = top, multiple, fixed, dtype

    def __call__(self, frame: Frame) -> Frame:
        height, width = frame.shape[:2]
        answer = self.answer(frame)
        if self._fixed == (None, None):
            return _to_frame(answer[:, :height, :width], 255 / self.top)
        return resize(_to_frame(answer, 255 / self.top), height, width)

    def answer(self, frame: Frame) -> Array:
        """What the network says to `frame`: float32 (3, H', W'), H' and W' as padded or resized."""
        batch = self._to_batch(self._fit(frame))
        answer = self._run(batch, frame.shape[:2])
        self._expect(answer.shape, batch.shape)
        planes: Array = answer[0].astype(np.float32, copy=False)
        return planes

    def _fit(self, frame: Frame) -> Frame:
        height, width = frame.shape[:2]
        fit_height, fit_width = (
            fixed or -(-size // self._multiple) * self._multiple
            for size, fixed in zip((height, width), self._fixed, strict=True)
        )
        if (height, width) == (fit_height, fit_width):
            return frame
        if self._fixed != (None, None):
            return resize(frame, fit_height, fit_width)
        below, right = fit_height - height, fit_width - width
        return np.asarray(cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REFLECT_101), dtype=np.uint8)

    def _to_batch(self, frame: Frame) -> Array:
        """(H, W, 3) uint8 -> (1, 3, H, W) float in 0..top, in one pass over the pixels."""
        height, width, _ = frame.shape
        batch = np.empty((1, 3, height, width), self._dtype)
        np.multiply(frame.transpose(2, 0, 1), self.top / 255, out=batch[0], casting="unsafe", dtype=np.float32)
        return batch


def _to_frame(planes: Array, scale: float) -> Frame:
    """(3, H, W) float32 -> (H, W, 3) uint8, scaled, rounded, clipped to 0..255; NaN gives 0."""
    # addWeighted is OpenCV's quickest "scale, round and saturate": 0.3 ms at 640x480, against 1.7 with NumPy.
    converted = [cv2.addWeighted(plane, scale, plane, 0, 0, dtype=cv2.CV_8U) for plane in planes]
    return np.asarray(cv2.merge(converted), dtype=np.uint8)


def resize(frame: Frame, height: int, width: int) -> Frame:
    """(H, W, 3) uint8 -> (`height`, `width`, 3); the same array where that is its size."""
    if frame.shape[:2] == (height, width):
        return frame
    method = cv2.INTER_AREA if height * width < frame.shape[0] * frame.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, (width, height), interpolation=method), dtype=np.uint8)


# Other people's networks.


def _open_foreign(file: StyleFile, session: "InferenceSession", range_: str) -> _FloatNetwork:
    height, width, dtype = _foreign_input(file, session)
    top = 255.0 if range_ == "255" else 1.0
    network, answer = _probe_sizes(file, session, (height, width), top, dtype)
    if range_ == "auto" and _speaks_255(answer):
        network.top = 255.0
    return network


def _foreign_input(file: StyleFile, session: "InferenceSession") -> tuple[int | None, int | None, npt.DTypeLike]:
    """Height and width that the network takes (None: any), and its precision."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    batch, channels, height, width = shape if len(shape) == 4 else [None] * 4
    fits_batch = batch == 1 or not isinstance(batch, int)
    if channels not in {3} or not fits_batch or inputs[0].type not in _FLOATS:
        raise InputError(
            f"style file '{file.path}' takes {describe(inputs)}: expected one float picture (1, 3, H, W), "
            "this is no fast-neural-style network"
        )
    return (
        height if isinstance(height, int) else None,
        width if isinstance(width, int) else None,
        _FLOATS[inputs[0].type],
    )


def _probe_sizes(
    file: StyleFile,
    session: "InferenceSession",
    fixed: tuple[int | None, int | None],
    top: float,
    dtype: npt.DTypeLike,
) -> tuple[_FloatNetwork, Array]:
    """The network with the smallest multiple at which its answer has the size of the picture, and that answer."""
    problem = None
    for multiple in (4, 8, 16, 32):
        network = _FloatNetwork(file, session, top=top, multiple=multiple, fixed=fixed, dtype=dtype)
        try:
            return network, network.answer(test_picture(13 * multiple, 17 * multiple))
        except InputError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def test_picture(height: int, width: int) -> Frame:
    """A gradient over all values, differing in the three channels: (H, W, 3) uint8."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.asarray(255 * np.stack([rows, columns, 1 - columns], axis=2), dtype=np.uint8)


def _speaks_255(answer: Array) -> bool:
    """Whether a network that was shown values in 0..1 is one for 0..255.

    A network trained on 0..1 answers about 0..1. One trained on 0..255 answers far above even to 0..1: instance
    normalisation makes it nearly blind to the scale of its input, and without it the biases alone were learnt for that.
    """
    return not float(np.percentile(np.abs(answer), 99)) < 8  # halfway, in powers, between 1 and 64 (or not a number)


def describe(nodes: list[Any]) -> str:
    """Inputs or outputs of a session: names, types and shapes, in one line."""
    return one_line(", ".join(f"{node.name} {node.type} {node.shape}" for node in nodes)) or "nothing"


def one_line(error: object) -> str:
    """ONNX Runtime's message, without line breaks and without the control codes that a file's names may hold."""
    return "".join(c if c.isprintable() else " " for c in " ".join(str(error).split()))[:200]
