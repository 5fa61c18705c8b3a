"""`--mask`: where the person is, steady over time, and pictures laid over each other by it."""

import shutil
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from clips import Picture
from onnx import TensorProto, helper
from skimage.data import astronaut
from tiny import frame_style, save

import allaprima
from allaprima.errors import InputError
from allaprima.infer.look import Look
from allaprima.infer.mask import PERSON_MODEL, Alpha, Mask, composite
from allaprima.infer.studio import Studio

FACE, WALL = (slice(80, 160), slice(200, 250)), (slice(20, 130), slice(310, 370))  # of the astronaut, 512x512


@pytest.fixture(scope="module")
def person() -> Picture:
    """A woman in front of a flag, a wall and a model rocket: (512, 512, 3)."""
    return np.asarray(astronaut(), dtype=np.uint8)  # type: ignore[no-untyped-call]


def noisy(picture: Picture, seed: int, sigma: float = 3) -> Picture:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def change(masks: list[Alpha]) -> float:
    """Mean change from one to the next."""
    return float(np.mean([cv2.absdiff(a, b).mean() for a, b in zip(masks[1:], masks[:-1], strict=True)]))


# The network that ships.


@pytest.mark.parametrize("size", [(512, 512), (480, 640), (211, 377), (720, 1280)])
def test_finds_the_person(person: Picture, size: tuple[int, int]) -> None:
    frame = cv2.resize(person, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    alpha = Mask()(frame)
    assert alpha.shape == size
    assert alpha.dtype == np.uint8
    whole = cv2.resize(alpha, (512, 512))
    assert whole[FACE].min() == 255
    assert whole[WALL].max() == 0
    assert 0.003 < np.mean((alpha > 20) & (alpha < 235)) < 0.06  # the edge is soft, and there is no veil


def test_nobody_is_there() -> None:
    y, x = np.mgrid[0:240, 0:320]
    room = np.stack([90 + y // 4, 110 + x // 8, 120 + 0 * x], axis=2).astype(np.uint8)
    assert np.mean(Mask()(room) > 127) < 0.02


def test_a_still_person_does_not_flicker(person: Picture) -> None:
    mask = Mask()
    frames = [noisy(person, seed) for seed in range(12)]
    steady = [mask(frame) for frame in frames][3:]
    alone = [Mask()(frame) for frame in frames][3:]
    assert change(steady) < 0.5 * change(alone)
    assert np.mean(cv2.absdiff(steady[-1], alone[-1])) < 2


def test_who_walks_leaves_no_trail(person: Picture) -> None:
    """She moves 14 px a frame in front of a wall, and is gone at the end."""
    cut_out = Mask()(person)
    wall = np.asarray(np.mgrid[0:512, 0:900][1][..., None] // 8 + [60, 90, 70], dtype=np.uint8)
    mask = Mask()
    for number in range(12):
        frame, there = noisy(wall, number), np.zeros(wall.shape[:2], np.uint8)
        x = slice(14 * number, 14 * number + 512)
        frame[:, x], there[:, x] = composite(frame[:, x], person, cut_out), cut_out
        steady, alone = mask(frame), Mask()(frame)
        assert overlap(steady, there) > max(overlap(alone, there) - 0.01, 0.85)
        behind = cv2.dilate(there, np.ones((17, 17), np.uint8)) < 20
        assert np.mean(steady[behind] > 60) < 0.002
    assert np.mean(mask(noisy(wall, 12)) > 60) < 0.01


def overlap(one: Alpha, other: Alpha) -> float:
    """Intersection over union."""
    return float(((one > 127) & (other > 127)).sum() / ((one > 127) | (other > 127)).sum())


def test_another_scene_starts_anew(person: Picture) -> None:
    mask = Mask()
    other = np.ascontiguousarray(255 - person[:, ::-1])
    mask(person)
    for frame in (other, person):
        np.testing.assert_array_equal(mask(frame), Mask()(frame))


def test_another_size_starts_anew(tmp_path: Path) -> None:
    mask = Mask(red_is_person(tmp_path / "red.onnx", [1, 3, "h", "w"]))
    picture, inside, outside = disc()
    mask(np.full((480, 320, 3), (255, 30, 30), np.uint8))
    alpha = mask(picture)
    assert alpha[inside].min() == 255
    assert alpha[outside].max() == 0


def test_views_of_frames(person: Picture) -> None:
    np.testing.assert_array_equal(Mask()(person[:, ::-1]), Mask()(np.ascontiguousarray(person[:, ::-1])))


# Laying one picture over another.


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (480, 640)])
def test_composite_is_exact(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    below, above = random.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    alpha = random.integers(0, 256, size, dtype=np.uint8)
    weight = alpha[..., None].astype(int)
    expected = (2 * (above * weight + below * (255 - weight)) + 255) // 510
    np.testing.assert_array_equal(composite(below, above, alpha), expected)
    np.testing.assert_array_equal(composite(below, below, alpha), below)
    np.testing.assert_array_equal(composite(below, above, np.zeros(size, np.uint8)), below)
    np.testing.assert_array_equal(composite(below, above, np.full(size, 255, np.uint8)), above)


@pytest.mark.parametrize(("which", "painted", "left"), [("person", FACE, WALL), ("background", WALL, FACE)])
def test_which_is_painted(
    person: Picture, tmp_path: Path, which: Literal["person", "background"], painted: Any, left: Any
) -> None:
    negative = allaprima.load(frame_style(tmp_path / "negative.onnx"))
    picture = Studio(negative, Look(mask=which), mask=Mask())(person)
    np.testing.assert_array_equal(picture[painted], 255 - person[painted])
    np.testing.assert_array_equal(picture[left], person[left])


# Other networks: here, the red channel is the probability.

LAYOUTS: list[Any] = [
    pytest.param(["n", 3, "h", "w"], {}, id="dynamic"),
    pytest.param([1, 3, 96, 128], {}, id="fixed"),
    pytest.param([1, 3, 96, "w"], {}, id="half fixed"),
    pytest.param([1, "h", "w", 3], {}, id="channels last"),
    pytest.param(["n", 64, 64, 3], {"planes": 2}, id="channels last, two"),
    pytest.param([1, 3, "h", "w"], {"planes": 2}, id="two"),
    pytest.param([1, 3, "h", "w"], {"gain": 20}, id="logits"),
    pytest.param([1, 3, "h", "w"], {"planes": 2, "gain": 20}, id="two logits"),
    pytest.param([1, 3, "h", "w"], {"squeeze": [0]}, id="three axes"),
    pytest.param([1, 3, "h", "w"], {"squeeze": [0, 1]}, id="two axes"),
    pytest.param([1, 3, "h", "w"], {"kind": TensorProto.FLOAT16}, id="half precision"),
]


def red_is_person(
    path: Path,
    shape: list[Any],
    *,
    planes: int = 1,
    gain: float = 0,
    squeeze: list[int] | None = None,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """A network that takes the red channel for the probability, or (red - 0.5) * gain for the logit."""
    axis = 1 if shape[1] == 3 else 3
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    nodes = [helper.make_node("Slice", ["picture", "0", "1", "axis"], ["red"])]
    last = "red"
    if gain:
        nodes.append(helper.make_node("Sub", [last, "half"], ["centred"]))
        nodes.append(helper.make_node("Mul", ["centred", "gain"], ["logit"]))
        last = "logit"
    if planes == 2:
        nodes.append(helper.make_node("Sub", ["zero" if gain else "one", last], ["background"]))
        nodes.append(helper.make_node("Concat", ["background", last], ["both"], axis=axis))
        last = "both"
    if squeeze:
        nodes.append(helper.make_node("Squeeze", [last, "squeezed"], ["person"]))
    else:
        nodes.append(helper.make_node("Identity", [last], ["person"]))
    rank = 4 - len(squeeze or [])
    return save(
        path,
        nodes,
        inputs={"picture": shape},
        outputs={"person": [f"out{n}" for n in range(rank)]},
        kind=kind,
        constants={
            "0": np.array([0]), "1": np.array([1]), "axis": np.array([axis]), "squeezed": np.array(squeeze or [0]),
            "half": dtype(0.5), "gain": dtype(gain), "zero": dtype(0), "one": dtype(1),
        },
    )  # fmt: skip


def disc() -> tuple[Picture, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """A red disc on blue, where it surely is, and where surely not."""
    y, x = np.mgrid[0:240, 0:320]
    distance = np.hypot(y - 120, x - 150)
    picture = np.where((distance < 70)[..., None], [255, 30, 30], [0, 30, 120]).astype(np.uint8)
    return picture, distance < 60, distance > 80


@pytest.mark.parametrize(("shape", "kind"), LAYOUTS)
def test_networks_of_any_layout(tmp_path: Path, shape: list[Any], kind: dict[str, Any]) -> None:
    picture, inside, outside = disc()
    mask = Mask(red_is_person(tmp_path / "red.onnx", shape, **kind), provider="cpu", threads=1)
    for _ in range(3):
        alpha = mask(picture)
        assert alpha.shape == (240, 320)
        assert alpha[inside].min() == 255
        assert alpha[outside].max() == 0


def test_a_network_that_gives_no_number(tmp_path: Path) -> None:
    path = save(
        tmp_path / "nan.onnx",
        [
            helper.make_node("Slice", ["picture", "0", "1", "1"], ["red"]),
            helper.make_node("Mul", ["red", "nan"], ["person"]),
        ],
        inputs={"picture": [1, 3, "h", "w"]},
        outputs={"person": [1, 1, "h", "w"]},
        constants={"0": np.array([0]), "1": np.array([1]), "nan": np.float32("nan")},
    )
    assert Mask(path)(disc()[0]).max() == 0


def test_files_that_are_no_mask(tmp_path: Path) -> None:
    identity = [helper.make_node("Identity", ["picture"], ["person"])]
    planes = ["n", 3, "h", "w"]

    def network(name: str, shape: list[Any], nodes: Any = identity, kind: int = TensorProto.FLOAT) -> Path:
        return save(tmp_path / name, nodes, inputs={"picture": shape}, outputs={"person": shape}, kind=kind)

    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "short.onnx").write_bytes(PERSON_MODEL.read_bytes()[:5000])
    shutil.copy(PERSON_MODEL, tmp_path / "outside.onnx")
    model = onnx.load(tmp_path / "outside.onnx")
    onnx.save(model, tmp_path / "outside.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    cases = {
        tmp_path / "gone.onnx": "does not exist",
        tmp_path / "text.onnx": "is not an ONNX file",
        tmp_path / "short.onnx": "is cut short or damaged",
        tmp_path / "outside.onnx": "keeps weights in other files",
        frame_style(tmp_path / "style.onnx"): "is a style: give a network that finds people",
        network("colours.onnx", planes): r"answers float32 \(1, 3, 256, 320\): expected the person's probability",
        network("bytes.onnx", planes, kind=TensorProto.UINT8): r"takes picture tensor\(uint8\).*: expected one float",
        network("four.onnx", ["n", 4, "h", "w"]): "expected one float picture",
        network("flat.onnx", ["n", 3]): "expected one float picture",
        network("batch.onnx", [2, 3, "h", "w"]): "expected one float picture",
        network("huge.onnx", [1, 3, 4096, 4096]): "of at most 2048 px",
        network("unknown.onnx", planes, [helper.make_node("Wrong", ["picture"], ["person"])]): "does not load",
        network("fails.onnx", planes, [helper.make_node("SpaceToDepth", ["picture"], ["person"], blocksize=7)]):
            "fails on 320x256 px",
    }  # fmt: skip
    for path, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            Mask(path)
        text = str(caught.value)
        assert text.startswith("--mask-model: ")
        assert "\n" not in text
        assert path.name in text
