"""Norms that remember the frames before: the same painting of a photo, and a film that no corner repaints."""

from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from clips import make_clip, read_clip
from conftest import ROOT, RunCli, wait_for
from onnx import TensorProto, helper
from tiny import foreign, frame_style, save, tensor_style

from allaprima.contract import INPUT_NAME, OUTPUT_NAME, StyleCard
from allaprima.gallery import find_style
from allaprima.infer.clip import open_clip
from allaprima.infer.protobuf import MalformedError, field, fields
from allaprima.infer.rack import Rack
from allaprima.infer.slow_norms import LOOKS, PACE, UNIT, given, own, with_slow_norms
from allaprima.infer.stylizer import Stylizer
from allaprima.models.export import export_style
from allaprima.models.transformer import build
from allaprima.pictures import Frame

Array = npt.NDArray[Any]
EVERY = 4  # frames
ALWAYS = {UNIT: np.ones(1, np.float32), LOOKS: np.array([True])}


def texture(seed: int, height: int = 120, width: int = 160) -> Frame:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3))
    return np.asarray(np.kron(coarse, np.ones((8, 8, 1))), dtype=np.uint8)


def lit(photo: Frame, share: float = 1) -> Frame:
    """A lamp in the upper left corner."""
    photo = photo.copy()
    corner = photo[:40, :50]
    corner[:] = corner + share * (255 - corner.astype(float))
    return photo


def floating(values: Sequence[Any]) -> Array:
    return np.array(values, np.float32)


def off(a: Frame, b: Frame) -> Array:
    return np.abs(a.astype(int) - b)


@pytest.fixture(scope="module")
def photo() -> Frame:
    return texture(0)


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style in floats whose norms have something to do."""
    path = tmp_path_factory.mktemp("style") / "floats.onnx"
    torch.manual_seed(0)
    export_style(build("realtime"), path, StyleCard(name="floats"))
    return path


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


# The rewritten file.


def one_norm(path: Path, epsilon: dict[str, Any]) -> bytes:
    """Two channels, (1, 2, h, w); scales 2 and 3, shifts 5 and 7."""
    shape = [1, 2, "h", "w"]
    node = helper.make_node("InstanceNormalization", ["x", "w", "b"], ["y"], **epsilon)
    constants = {"w": floating([2, 3]), "b": floating([5, 7])}
    return save(path, [node], inputs={"x": shape}, outputs={"y": shape}, constants=constants).read_bytes()


@pytest.mark.parametrize("epsilon", [{"epsilon": 0.5}, {}])
@pytest.mark.parametrize("pace", [0, 0.25, 1])
def test_a_norm_goes_by_the_statistics_it_is_given(tmp_path: Path, epsilon: dict[str, float], pace: float) -> None:
    model, norms = with_slow_norms(one_norm(tmp_path / "norm.onnx", epsilon))
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert norms == 1
    x = floating([[[[1, 3, 1, 3]], [[10, 10, 40, 40]]]])  # means 2 and 25, variances 1 and 225
    known = floating([[4, 9], [20, 100]]).reshape(1, 2, 1, 2)
    of_x = floating([[2, 1], [25, 225]]).reshape(1, 2, 1, 2)
    expected = known + pace * (of_x - known)
    mean, variance = expected[..., 0, None], expected[..., 1, None]
    deviation = np.sqrt(variance.reshape(1, 2, 1, 1) + epsilon.get("epsilon", 1e-5))
    y = floating([2, 3]).reshape(1, 2, 1, 1) * (x - mean.reshape(1, 2, 1, 1)) / deviation
    y += floating([5, 7]).reshape(1, 2, 1, 1)
    fed = {"x": x, PACE: floating([pace]), **ALWAYS, given(0): known}
    got, statistics = session(model).run(["y", own(0)], fed)
    np.testing.assert_allclose(statistics, of_x, rtol=1e-5)
    np.testing.assert_allclose(got, y, rtol=1e-4, atol=1e-4)


def test_with_its_own_statistics_a_style_paints_as_ever(photo: Frame) -> None:
    data = Path(find_style("starry_night")).read_bytes()
    model, norms = with_slow_norms(data)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    fed = {INPUT_NAME: photo[None], PACE: floating([1]), **ALWAYS}
    fed |= {given(n): np.zeros((1, 1, 1, 2), np.float32) for n in range(norms)}
    [slow] = session(model).run([OUTPUT_NAME], fed)
    [plain] = session(data).run([OUTPUT_NAME], {INPUT_NAME: photo[None]})
    assert norms == 2
    assert off(slow, plain).mean() < 1  # in integers, a last digit that differs is another rounding behind it


@pytest.mark.parametrize("rate", [0.1, 0.7])
def test_a_film_is_painted_as_pytorch_would(
    floats: Path, photo: Frame, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from norms import SteadyNorms

    torch.manual_seed(0)
    network = build("realtime").eval()
    SteadyNorms(network, rate)
    model, norms = with_slow_norms(floats.read_bytes())
    film, pace = session(model), 1.0
    statistics: list[Array] = [np.zeros((1, 1, 1, 2), np.float32)] * norms
    for frame in (photo, lit(photo), texture(1), photo):
        fed = {INPUT_NAME: frame[None], PACE: floating([pace]), **ALWAYS} | {
            given(n): s for n, s in enumerate(statistics)
        }
        painted, *owns = film.run(None, fed)
        statistics = [s + np.float32(pace) * (o - s) for s, o in zip(statistics, owns, strict=True)]
        pace = rate
        with torch.inference_mode():
            expected = network(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255)
        whole = (255 * expected.clamp(0, 1)).round()[0].permute(1, 2, 0).numpy()
        assert off(painted[0], whole).max() <= 1


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**35])
def test_fields_are_written_as_they_are_read(number: int) -> None:
    message = field(1, number) + field(7, "é") + field(300, b"\0\1") + field(2, 0.5)
    read = [value if isinstance(value, int) else bytes(value) for _, value in fields(memoryview(message))]
    assert [n for n, _ in fields(memoryview(message))] == [1, 7, 300, 2]
    assert read == [number, "é".encode(), b"\0\1", np.float32(0.5).tobytes()]
    with pytest.raises(MalformedError):
        list(fields(memoryview(message[:-1])))


# The film.


def film(path: Path | str) -> Stylizer:
    return Stylizer(path, threads=1, film=True)


@pytest.fixture(params=["floats", "int8"])
def style(request: pytest.FixtureRequest, floats: Path) -> Path:
    return floats if request.param == "floats" else Path(find_style("starry_night"))


def test_a_lamp_in_one_corner_leaves_the_others_alone(style: Path, photo: Frame) -> None:
    """A photo has no memory; a film adapts, as an eye does."""
    photos = [photo, *(lit(photo, share) for share in np.linspace(0, 1, 9))]
    far = np.s_[72:, 96:]
    spills = []
    for paint in (Stylizer(style, threads=1), film(style)):
        paintings = [paint(p)[far].copy() for p in photos]
        spills.append(sum(off(a, b).mean() for a, b in pairwise(paintings)))
    bare, slow = spills
    assert bare > 1
    assert slow < (0.5 if style.stem == "floats" else 0.6) * bare  # integers round anew with each move


def test_a_film_comes_to_paint_as_photos_are_painted(floats: Path, photo: Frame) -> None:
    paint, bare = film(floats), Stylizer(floats, threads=1)
    assert off(paint(photo), bare(photo)).max() <= 1
    other = lit(photo, 0.3)
    offs = [off(paint(other), bare(other)).mean() for _ in range(60)]
    assert offs[0] > offs[4] > offs[8] > 0
    assert offs[-1] < 0.1 * offs[0]


def test_statistics_stand_still_between_their_moves(floats: Path, photo: Frame) -> None:
    """For an int8 network any move, however small, is another rounding everywhere."""
    paint = film(floats)
    paint(photo)
    same = [paint(lit(photo, 0.3)).copy() for _ in range(2 * EVERY)]
    moves = [not np.array_equal(a, b) for a, b in pairwise(same)]
    assert moves == [False] * (EVERY - 2) + [True] + [False] * (EVERY - 1) + [True]


@pytest.mark.parametrize("begin", ["a cut", "forgetting"])
def test_a_film_begins_anew(floats: Path, photo: Frame, begin: str) -> None:
    paint, bare = film(floats), Stylizer(floats, threads=1)
    other = texture(5) if begin == "a cut" else lit(photo)
    paint(photo)
    if begin == "forgetting":
        paint.forget()
    assert off(paint(other), bare(other)).max() <= 1


@pytest.mark.parametrize("level", [0.3, 2.5])
def test_light_that_is_switched_is_followed_soon(floats: Path, level: float) -> None:
    frame = np.asarray(texture(0) // 3 + 10, dtype=np.uint8)
    other = np.clip(level * frame.astype(float), 0, 255).astype(np.uint8)
    paint, bare = film(floats), Stylizer(floats, threads=1)
    paint(frame)
    for _ in range(EVERY):
        paint(other)
    assert off(paint(other), bare(other)).max() <= 1


def test_two_films_do_not_know_of_each_other(floats: Path, photo: Frame) -> None:
    first, second, bare = film(floats), film(floats), Stylizer(floats, threads=1)
    first(photo)
    assert off(second(lit(photo)), bare(lit(photo))).max() <= 1


def test_any_size_may_come_next(floats: Path) -> None:
    paint = film(floats)
    for height, width in ((120, 160), (60, 80), (17, 400), (120, 160)):
        assert paint(texture(1, 400, 400)[:height, :width]).shape == (height, width, 3)


@pytest.mark.parametrize("make", [frame_style, tensor_style, foreign], ids=lambda make: make.__name__)
def test_what_has_no_norms_of_ours_paints_a_film_as_photos(tmp_path: Path, make: Callable[..., Path]) -> None:
    paint, frame = film(make(tmp_path / "negative.onnx")), texture(0)
    for _ in range(2):
        np.testing.assert_array_equal(paint(frame), 255 - frame)
    paint.forget()


def test_halves_paint_a_film_as_photos(tmp_path: Path, photo: Frame) -> None:
    torch.manual_seed(0)
    export_style(build("realtime"), path := tmp_path / "half.onnx", StyleCard(), half=True)
    paint, bare = film(path), Stylizer(path, threads=1)
    for frame in (photo, lit(photo)):
        np.testing.assert_array_equal(paint(frame), bare(frame))


def test_a_file_that_has_such_inputs_already_is_refused(tmp_path: Path) -> None:
    norm = helper.make_node("InstanceNormalization", ["x", "w", "b"], ["y"])
    cast = helper.make_node("Cast", [INPUT_NAME], ["x"], to=TensorProto.FLOAT)
    back = helper.make_node("Cast", ["y"], [OUTPUT_NAME], to=TensorProto.UINT8)
    shape = [1, "h", "w", 3]
    path = save(
        tmp_path / "odd.onnx",
        [cast, norm, back],
        inputs={INPUT_NAME: shape, given(0): shape},
        outputs={OUTPUT_NAME: shape},
        kind=TensorProto.UINT8,
        constants={"w": floating([1]), "b": floating([1])},
        metadata=StyleCard().to_metadata(),
    )
    with pytest.raises(ValueError, match=r"odd.onnx.*export it again"):
        film(path)


def test_a_style_that_is_chosen_again_begins_anew(floats: Path, tmp_path: Path, photo: Frame) -> None:
    rack = Rack(["a", "b"], lambda name: film(floats if name == "a" else frame_style(tmp_path / "b.onnx")))
    for number, frame in ((0, photo), (1, photo), (0, lit(photo))):
        rack.choose(number)
        wait_for(lambda: not rack.loading)
        last = rack.paint(frame)
    assert off(last, Stylizer(floats, threads=1)(lit(photo))).max() <= 1


def test_videos_are_films(tmp_path: Path, floats: Path, photo: Frame, run_cli: RunCli) -> None:
    photos = [photo, lit(photo)]
    source = make_clip(tmp_path / "clip.mp4", size=(160, 120), picture=lambda n, w, h: photos[n > 0])
    output = tmp_path / "painted.mp4"
    done = run_cli("video", source, "--style", floats, "-o", output, "--crf", 0, "--smooth", 0)
    assert (done.returncode, done.stderr) == (0, "")
    with open_clip(source) as clip:
        decoded = [shot.picture.copy() for shot in islice(clip.shots(), 2)]
    paint, bare = film(floats), Stylizer(floats, threads=1)
    expected: Sequence[Frame] = [paint(p).copy() for p in decoded]
    painted = read_clip(output).pictures[1]
    assert off(painted, expected[1]).mean() < off(painted, bare(decoded[1])).mean()
