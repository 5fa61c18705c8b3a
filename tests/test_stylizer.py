"""A style file as a function from frame to frame: ours, other people's, and what is none."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
from conftest import ROOT
from onnx import TensorProto, helper

import allaprima
from allaprima.contract import StyleCard
from allaprima.errors import InputError
from allaprima.infer import Stylizer
from allaprima.infer.stylefile import CHILDREN, MAX_BYTES, read_card, read_style_file
from allaprima.pictures import Frame

SIZES = [(16, 16), (16, 17), (33, 51), (270, 482), (333, 517)]
PEERS = ["narrow8-mosaic", "reference-mosaic"]


def noise(height: int, width: int, seed: int = 0) -> Frame:
    return np.random.default_rng((height * width, seed)).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> Frame:
    rows, columns = np.mgrid[0 : 255 : height * 1j, 0 : 255 : width * 1j]
    return np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)


# Ours.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [tiny.frame_style, tiny.tensor_style])
def test_paints_every_pixel_at_any_size(make: Any, size: tuple[int, int], tmp_path: Path) -> None:
    stylize = Stylizer(make(tmp_path / "negative.onnx", name="negative"), threads=1)
    frame = noise(*size)
    painted = stylize(frame)
    assert painted.dtype == np.uint8
    np.testing.assert_array_equal(painted, 255 - frame)


def test_random_sizes_all_values(tmp_path: Path) -> None:
    stylize = Stylizer(tiny.tensor_style(tmp_path / "negative.onnx"), threads=1)
    for height, width in np.random.default_rng(0).integers(16, 90, (20, 2)):
        frame = noise(int(height), int(width))
        np.testing.assert_array_equal(stylize(frame), 255 - frame)


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[3:-5, 7:-2], np.s_[::2, ::3], np.s_[..., ::-1]])
@pytest.mark.parametrize("make", [tiny.frame_style, tiny.tensor_style, tiny.foreign])
def test_any_strides(make: Any, view: Any, tmp_path: Path) -> None:
    stylize = Stylizer(make(tmp_path / "negative.onnx"), threads=1)
    frame = noise(64, 96)[view]
    np.testing.assert_array_equal(stylize(frame), 255 - frame)


@pytest.mark.parametrize("op", ["Identity", "BitwiseNot"])
def test_the_result_is_the_callers(op: str, tmp_path: Path) -> None:
    stylize = Stylizer(tiny.frame_style(tmp_path / "s.onnx", op), threads=1)
    frame = noise(32, 32)
    first = stylize(frame)
    kept = first.copy()
    stylize(noise(32, 32) // 2)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # writable, and not the caller's frame
    np.testing.assert_array_equal(frame, noise(32, 32))


def test_tells_what_it_is(tmp_path: Path) -> None:
    path = tiny.frame_style(tmp_path / "file.onnx", name="negative", title="T", figures={"J": 1.5})
    stylize = allaprima.load(path, threads=1)
    assert (stylize.name, stylize.provider, stylize.path) == ("negative", "cpu", path)
    assert stylize.card == StyleCard(name="negative", title="T", figures={"J": 1.5}) == read_card(path)
    assert read_card(tiny.foreign(tmp_path / "foreign.onnx")) is None


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros((32, 32, 3), np.float32),
        np.zeros((15, 32, 3), np.uint8),
        np.zeros((32, 15, 3), np.uint8),
    ],
    ids=lambda frame: f"{frame.shape}-{frame.dtype}",
)
def test_refuses_what_is_no_frame(frame: Any, tmp_path: Path) -> None:
    stylize = Stylizer(tiny.frame_style(tmp_path / "s.onnx"), threads=1)
    with pytest.raises(ValueError, match=r"frame: got \(.*\) \w+, expected \(H, W, 3\) uint8"):
        stylize(frame)


# Other people's.


@pytest.mark.parametrize("peer", PEERS)
def test_peers_at_odd_sizes(peer: str, shared: Path) -> None:
    path = shared / "peers" / f"{peer}.onnx"
    stylize = Stylizer(path, threads=2)
    assert (stylize.card, stylize.name) == (None, peer)
    frame = smooth(333, 517)
    painted = stylize(frame)
    assert painted.shape == frame.shape
    assert painted.std() > 30  # a mosaic, not a flat field

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    even = smooth(64, 96)
    batch = even.transpose(2, 0, 1)[None].astype(np.float32)
    [answer] = session.run(None, {session.get_inputs()[0].name: batch})
    expected = np.clip(np.rint(answer[0]), 0, 255).transpose(1, 2, 0)
    assert np.abs(stylize(even) - expected).max() <= 1


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("top", [1, 255])
@pytest.mark.parametrize("peer", PEERS)
def test_detects_range_and_precision(peer: str, top: int, half: bool, shared: Path, tmp_path: Path) -> None:
    source = shared / "peers" / f"{peer}.onnx"
    changed = tiny.rescaled(source, tmp_path / "changed.onnx", top=top, half=half)
    # Not a smooth gradient: there both networks make mosaic lines out of float16's rounding of the input alone.
    frame = noise(45, 67)
    difference = np.abs(Stylizer(source, threads=2)(frame).astype(int) - Stylizer(changed, threads=2)(frame))
    assert difference.max() <= (2 if half else 1)


def test_a_flag_tells_the_range(tmp_path: Path) -> None:
    frame = noise(32, 32)
    for top, range_ in ((1, "1"), (255, "255")):
        path = tiny.foreign(tmp_path / "f.onnx", top=top)
        np.testing.assert_array_equal(Stylizer(path, threads=1)(frame), 255 - frame)
        np.testing.assert_array_equal(Stylizer(path, threads=1, range_=range_)(frame), 255 - frame)
    wrong = Stylizer(path, threads=1, range_="1")(frame)  # 255 - x/255, times 255: white
    assert (wrong == 255).all()


@pytest.mark.parametrize("block", [4, 8, 16, 32])
@pytest.mark.parametrize("size", SIZES[:3])
def test_pads_to_what_the_network_needs(block: int, size: tuple[int, int], tmp_path: Path) -> None:
    stylize = Stylizer(tiny.foreign(tmp_path / "f.onnx", block=block), threads=1)
    frame = noise(*size)
    np.testing.assert_array_equal(stylize(frame), 255 - frame)


@pytest.mark.parametrize("shape", [(1, 3, 64, 48), (1, 3, "h", 48), ("n", 3, 64, "w")])
def test_fixed_sizes_are_resized(shape: tuple[Any, ...], tmp_path: Path) -> None:
    stylize = Stylizer(tiny.foreign(tmp_path / "f.onnx", shape=shape), threads=1)
    frame = smooth(97, 131)
    painted = stylize(frame)
    assert painted.shape == frame.shape
    assert np.abs(painted.astype(int) - (255 - frame)).mean() < 2  # a gradient survives two resizings
    exact = noise(64, 48)
    np.testing.assert_array_equal(stylize(exact), 255 - exact)


# What is no style.


def test_files_that_are_none(tmp_path: Path) -> None:
    whole = tiny.foreign(tmp_path / "whole.onnx").read_bytes()
    cases = {
        b"": "is empty",
        b"version https://git-lfs.github.com/spec/v1\n": "is not an ONNX file",
        b"\xff\xd8\xff\xe0 a picture": "is not an ONNX file",
        b"\x08\x09": "holds no network",
        whole[:1]: "is cut short or damaged",
        whole[: len(whole) // 2]: "is cut short or damaged",
        whole[:-1]: "is cut short or damaged",
    }
    path = tmp_path / "bad.onnx"
    for content, reason in cases.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"style file '.*bad.onnx' {reason}") as caught:
            Stylizer(path)
        assert "\n" not in str(caught.value)


def test_every_truncation_and_many_damages_are_input_errors(tmp_path: Path) -> None:
    """Whatever a damaged file does, it is a sentence for the user or a network that runs, never another exception."""
    whole = tiny.tensor_style(tmp_path / "whole.onnx").read_bytes()
    path, random = tmp_path / "bad.onnx", np.random.default_rng(1)
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    for _ in range(200):
        flipped = bytearray(whole)
        flipped[int(random.integers(len(whole)))] = int(random.integers(256))
        damaged.append(bytes(flipped))
    messages = []
    for content in damaged:
        path.write_bytes(content)
        try:
            Stylizer(path, threads=1)(noise(20, 20))
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > len(damaged) / 2
    assert not any("\n" in message for message in messages)


def test_missing_folder_and_size(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(InputError, match="does not exist or is no file: check the path"):
            Stylizer(path)
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    with pytest.raises(InputError, match="has 268 MB: expected at most 268"):
        Stylizer(huge)


def test_unknown_contract(tmp_path: Path) -> None:
    path = tiny.frame_style(tmp_path / "s.onnx", contract="allaprima/99")
    with pytest.raises(InputError, match=r"'allaprima/99', this version knows 'allaprima/1': update allaprima"):
        Stylizer(path)


@pytest.mark.parametrize("value", ["{", "[" * 100_000, "[]", '"frames"', "NaN"])
def test_damaged_metadata(value: str, tmp_path: Path) -> None:
    metadata = {**StyleCard().to_metadata(), "allaprima.io": value}
    shape = {"inputs": {"frame": tiny.FRAME_SHAPE}, "outputs": {"stylized": tiny.FRAME_SHAPE}}
    node = helper.make_node("Identity", ["frame"], ["stylized"])
    path = tiny.save(tmp_path / "s.onnx", [node], kind=TensorProto.UINT8, metadata=metadata, **shape)
    with pytest.raises(InputError, match="export it again"):
        Stylizer(path)


@pytest.mark.parametrize(
    ("inputs", "outputs", "ours"),
    [
        ({"a": tiny.PLANES_SHAPE, "b": tiny.PLANES_SHAPE}, {"c": tiny.PLANES_SHAPE}, False),
        ({"a": [1, 1, "h", "w"], "b": []}, {"c": [1, 1, "h", "w"]}, False),
        ({"a": [4, 3, "h", "w"]}, {"c": [4, 3, "h", "w"]}, False),
        ({"a": [1, "h", "w", 3]}, {"c": [1, "h", "w", 3]}, False),
        ({"a": ["x"]}, {"c": ["x"]}, False),
        ({"a": tiny.PLANES_SHAPE}, {"c": tiny.PLANES_SHAPE}, True),
        ({"frame": tiny.PLANES_SHAPE}, {"stylized": tiny.PLANES_SHAPE}, True),
    ],
)
def test_graphs_of_another_kind(inputs: Any, outputs: Any, ours: bool, tmp_path: Path) -> None:
    node = helper.make_node("Identity", [next(iter(inputs))], [next(iter(outputs))])
    metadata = StyleCard(io="frame").to_metadata() if ours else {}
    path = tiny.save(tmp_path / "s.onnx", [node], inputs=inputs, outputs=outputs, metadata=metadata)
    with pytest.raises(InputError, match=r"expected (one float picture|\w+ uint8)"):
        Stylizer(path)


def test_an_answer_of_another_size(tmp_path: Path) -> None:
    halve = helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2])
    path = tiny.save(tmp_path / "s.onnx", [halve], inputs={"a": tiny.PLANES_SHAPE}, outputs={"b": tiny.PLANES_SHAPE})
    with pytest.raises(InputError, match=r"answers \(1, 3, 26, 34\) to \(1, 3, 52, 68\)"):
        Stylizer(path)
    crop = helper.make_node("Slice", ["frame", "from", "to"], ["stylized"])
    path = tiny.save(
        tmp_path / "ours.onnx",
        [crop],
        inputs={"frame": tiny.FRAME_SHAPE},
        outputs={"stylized": ["n", "h2", "w2", 3]},
        kind=TensorProto.UINT8,
        constants={"from": np.zeros(4, np.int64), "to": np.array([1, 8, 8, 3])},
        metadata=StyleCard().to_metadata(),
    )
    with pytest.raises(InputError, match=r"answers \(1, 8, 8, 3\) to \(1, 20, 30, 3\)"):
        Stylizer(path, threads=1)(noise(20, 30))


def test_a_painting_is_yours_while_you_hold_it(tmp_path: Path) -> None:
    stylize = Stylizer(tiny.frame_style(tmp_path / "s.onnx"), threads=1)
    frames = [noise(20, 30, seed) for seed in range(9)]
    held = [stylize(frame)[::2] for frame in frames]  # views hold it too
    for frame, painted in zip(frames, held, strict=True):
        assert np.array_equal(painted, 255 - frame[::2])


def test_threads_share_a_stylizer(tmp_path: Path) -> None:
    stylize = Stylizer(tiny.frame_style(tmp_path / "s.onnx"), threads=1)

    def paints_well(seed: int) -> bool:
        frame = noise(40, 50, seed)
        return np.array_equal(stylize(frame), 255 - frame)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(paints_well, range(400)))


def test_memory_of_paintings_is_used_again(tmp_path: Path) -> None:
    stylize = Stylizer(tiny.frame_style(tmp_path / "s.onnx"), threads=1)
    places = {stylize(noise(20, 30, seed)).ctypes.data for seed in range(20)}
    assert len(places) == 1
    assert stylize(noise(31, 17)).shape == (31, 17, 3)  # another size has its own


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname"])
@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph"])
def test_other_files_are_never_read(location: str, place: str, tmp_path: Path) -> None:
    tensor = onnx.TensorProto(data_type=TensorProto.FLOAT, dims=[1], name="w", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "weights.bin").write_bytes(bytes(4))
    nodes = [helper.make_node("Add", ["a", "w"], ["b"])]
    if place == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    if place == "subgraph":
        branch = helper.make_graph([helper.make_node("Add", ["a", "w"], ["inner"])], "branch", [], [], [tensor])
        nodes = [helper.make_node("If", ["yes"], ["b"], then_branch=branch, else_branch=branch)]
    path = tiny.save(
        tmp_path / "s.onnx",
        nodes,
        inputs={"a": tiny.PLANES_SHAPE},
        outputs={"b": tiny.PLANES_SHAPE},
        constants={"yes": np.array(True)},
    )
    if place == "initializer":
        model = onnx.load(path)
        model.graph.initializer.append(tensor)
        path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="keeps weights in other files"):
        Stylizer(path)


def test_the_walk_finds_every_tensor() -> None:
    """Our table of messages against ONNX's own: no way from a model to a tensor may be missing."""

    def below(message: Any) -> dict[int, Any]:
        return {f.number: f.message_type for f in message.fields if f.message_type is not None}

    def holds_tensor(message: Any, seen: frozenset[str] = frozenset()) -> bool:
        if message.name == "TensorProto":
            return True
        if message.name in seen:
            return False
        return any(holds_tensor(child, seen | {message.name}) for child in below(message).values())

    queue, table = [onnx.ModelProto.DESCRIPTOR], {}
    while queue:
        message = queue.pop()
        children = {n: m for n, m in below(message).items() if holds_tensor(m)}
        if message.name not in table and children:
            table[message.name] = {number: child.name for number, child in children.items()}
            queue.extend(children.values())
    assert table == CHILDREN


def test_a_deeply_nested_file_does_no_harm(tmp_path: Path) -> None:
    def varint(value: int) -> bytes:
        return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])

    def wrap(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    graph = b""
    for _ in range(300):  # graph.node.attribute.g ...
        graph = wrap(1, wrap(5, wrap(6, graph)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x08" + wrap(7, graph))
    assert read_style_file(path).card is None
    with pytest.raises(InputError, match="does not load"):
        Stylizer(path)


# Where it runs.


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="needs the CPU runtime")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_does_not_load_is_a_loud_line(provider: str, tmp_path: Path) -> None:
    path = tiny.frame_style(tmp_path / "s.onnx")
    with pytest.warns(RuntimeWarning, match=rf"'{provider}' did not load, running on 'cpu' .*allaprima\[gpu\]"):
        stylize = Stylizer(path, provider=provider)
    assert stylize.provider == "cpu"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"provider": "gpu"}, "provider 'gpu' is unknown: choose one of auto, cuda"),
        ({"threads": 0}, "threads: got 0, expected 1 or more"),
        ({"range_": "256"}, "input range '256' is unknown: choose one of auto, 255, 1"),
        ({"range_": "1"}, "has a fixed input range: leave out --input-range"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Stylizer(tiny.frame_style(tmp_path / "s.onnx"), **settings)


def run_python(code: str, *, path: Path | None = None) -> str:
    folders = os.pathsep.join(str(p) for p in (path, ROOT) if p)
    env = {**os.environ, "PYTHONPATH": folders}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


def test_without_onnxruntime(tmp_path: Path) -> None:
    path = tiny.frame_style(tmp_path / "s.onnx")
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"  # Python's own way to make a module unavailable
        "import allaprima\n"
        f"try: allaprima.load({str(path)!r})\n"
        "except allaprima.errors.InputError as error: print(error)"
    )
    assert "ONNX Runtime is not installed: pip install 'allaprima[cpu]'" in run_python(code)


def test_with_two_onnxruntimes(tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        info = tmp_path / f"{name}-1.30.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.30.0\n")
    path = tiny.frame_style(tmp_path / "s.onnx")
    code = (
        "import allaprima\n"
        f"try: allaprima.load({str(path)!r})\n"
        "except allaprima.errors.InputError as error: print(error)"
    )
    printed = run_python(code, path=tmp_path)
    assert "onnxruntime and onnxruntime-gpu are both installed" in printed
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in printed


def test_metadata_is_what_onnxruntime_reads(tmp_path: Path) -> None:
    path = tiny.frame_style(tmp_path / "s.onnx", title="Čapek, 富嶽三十六景", training={"steps": 3})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    theirs = StyleCard.from_metadata(session.get_modelmeta().custom_metadata_map)
    assert theirs == read_card(path)
    assert json.loads(json.dumps(theirs.training)) == {"steps": 3} if theirs else False
