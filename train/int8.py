"""A trained network as an int8 style file, written only if the eye and the yardstick find it as good as fp32.

check = export_int8(network, Path("painting.onnx"), card, config=config, photos="photos")
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from ..contract import INPUT_NAME, OUTPUT_NAME, StyleCard
from ..errors import InputError
from ..files import replacing
from ..models.export import with_card
from ..models.graph import int8_graph
from ..models.quantise import QuantisedNetwork, quantise
from ..models.transformer import ImageTransformer
from ..pictures import Frame, read_picture
from .config import SYNTHETIC, TrainConfig
from .evaluate import YARDSTICK_LAYERS, distances, read_photos, synthetic_photos
from .loss_network import load_loss_network, load_yardstick
from .photos import list_photos, to_frame, to_tensor

MIN_PSNR_DB = 32.0
"""Mean over photos, against fp32: below, an eye begins to see the difference on flat parts."""
MAX_J_RATIO = 1.03
CALIBRATION_PHOTOS = 16
UNSEEN_PHOTOS = 4
PHOTO_PX = 288
"""Shorter side at which both are looked at."""

Painter = Callable[[Frame], Frame]


@dataclass(frozen=True)
class Int8Check:
    """How an int8 file compares with its network in fp32, on photos that were not calibrated on."""

    psnr_db: float
    j_ratio: float


def export_int8(
    network: ImageTransformer,
    path: Path,
    card: StyleCard,
    *,
    config: TrainConfig,
    photos: str,
) -> Int8Check:
    """Quantise `network` on some of `photos`, compare it with fp32 on others, and write it to `path`.

    Args:
        network: trained, of the `realtime` build; it is copied, not changed.
        path: where the file goes, whole or not at all.
        card: the metadata; precision and figures of the comparison are filled in here.
        config: what it was trained with: painting, loss network, k.
        photos: folder of photos, searched recursively, or `synthetic`.

    Raises:
        InputError: too few photos, no painting or loss network to judge by, or the result is not good enough; the
            message then names the layer that hurts most.
    """
    if config.build != "realtime":
        raise InputError(f"--int8: the run's build is '{config.build}', expected 'realtime'")
    calibration, unseen = _divide(photos)
    quantised = quantise(network, calibration)
    model = int8_graph(quantised)
    painter = onnx_painter(model.SerializeToString())
    check = compare(network, painter, config, unseen)
    if check.psnr_db < MIN_PSNR_DB or check.j_ratio > MAX_J_RATIO:
        raise InputError(
            f"'{path}' not written: int8 is {check.psnr_db:.1f} dB from fp32 (at least {MIN_PSNR_DB:g} expected), "
            f"J {check.j_ratio:.3f} of its own (at most {MAX_J_RATIO:g}); layer {worst_layer(quantised, unseen)} "
            "hurts most: give photos like those it will paint, or leave out --int8"
        )
    card.figures |= {"int8_psnr_db": round(check.psnr_db, 2), "int8_J_ratio": round(check.j_ratio, 4)}
    data = with_card(model, card, precision="int8")
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return check


def _divide(photos: str) -> tuple[list[Frame], list[Frame]]:
    """Photos to calibrate on and others to compare on."""
    count = CALIBRATION_PHOTOS + UNSEEN_PHOTOS
    frames = synthetic_photos(count, shorter_px=PHOTO_PX) if photos == SYNTHETIC else _read_some(Path(photos), count)
    if len(frames) <= UNSEEN_PHOTOS:
        raise InputError(f"photo folder '{photos}': got {len(frames)} photos, int8 needs {UNSEEN_PHOTOS + 1} or more")
    every = len(frames) // UNSEEN_PHOTOS
    unseen = range(0, every * UNSEEN_PHOTOS, every)
    return [frame for i, frame in enumerate(frames) if i not in unseen], [frames[i] for i in unseen]


def _read_some(folder: Path, count: int) -> list[Frame]:
    """At most `count` photos, evenly spread over the folder."""
    paths = list_photos(folder, shorter_px=PHOTO_PX // 4).paths
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), count)).astype(int)
    return read_photos([paths[i] for i in chosen], shorter_px=PHOTO_PX)


def compare(network: ImageTransformer, painter: Painter, config: TrainConfig, photos: Sequence[Frame]) -> Int8Check:
    """The painter's difference from the network, in dB and in J; where no yardstick is at hand, the loss network's."""
    assert config.painting is not None
    assert config.style_weight is not None
    judge, _ = load_yardstick(config) or load_loss_network(config.loss_network, YARDSTICK_LAYERS)
    painting, k = read_picture(config.painting, what="painting"), config.style_weight
    network = network.eval()

    def j(paint: Callable[[Tensor], Tensor]) -> float:
        return float(np.mean([d.j(k) for d in distances(paint, judge, painting, photos, shorter_px=PHOTO_PX)]))

    ratio = j(lambda x: to_tensor(painter(to_frame(x)))) / j(network)
    with torch.inference_mode():
        psnr = [psnr_db(painter(photo), to_frame(network(to_tensor(photo)))) for photo in photos]
    return Int8Check(float(np.mean(psnr)), ratio)


@torch.inference_mode()
def worst_layer(quantised: QuantisedNetwork, photos: Sequence[Frame]) -> str:
    """The layer whose integers alone take the painting farthest from the network's."""

    def quality(name: str) -> float:
        pairs = ((quantised.paint(x, only=name), quantised.paint(x, only="")) for x in map(to_tensor, photos[:2]))
        return float(np.mean([psnr_db(to_frame(a), to_frame(b)) for a, b in pairs]))

    return min(quantised.ranges, key=quality)


def onnx_painter(model: bytes) -> Painter:
    """A style file's model as a function of frames, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def paint(frame: Frame) -> Frame:
        (painted,) = session.run([OUTPUT_NAME], {INPUT_NAME: frame[None]})
        return np.asarray(painted[0], dtype=np.uint8)

    return paint


def psnr_db(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures; 99 for the same."""
    error = float(np.mean((first.astype(np.float64) - second) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else 99.0
