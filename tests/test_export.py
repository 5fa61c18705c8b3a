"""Export: what the style file promises, and that nothing else gets its name."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from allaprima.contract import INPUT_NAME, OUTPUT_NAME, Io, StyleCard
from allaprima.errors import InputError
from allaprima.models.export import FrameStyle, export_style
from allaprima.models.fuse import conv_over_cells, fuse
from allaprima.models.transformer import Build, UpsampleConv, build

IOS: tuple[Io, ...] = ("frame", "tensor")
STYLES: tuple[tuple[Build, Io, bool], ...] = (
    ("realtime", "frame", False),
    ("realtime", "tensor", True),
    ("standard", "frame", False),
)


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Both builds, as pixels and as tensors in half precision."""
    folder = tmp_path_factory.mktemp("styles")
    paths: dict[tuple[str, str], Path] = {}
    for name, io, half in STYLES:
        torch.manual_seed(0)
        paths[name, io] = folder / f"{name}-{io}.onnx"
        export_style(build(name), paths[name, io], StyleCard(name=name), io=io, half=half)
    return paths


def session_of(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_one_file_with_named_free_sizes(styles: dict[tuple[str, str], Path]) -> None:
    for (_, io), path in styles.items():
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        assert all(opset.version >= 17 for opset in model.opset_import if opset.domain == "")
        assert not any(t.data_location for t in model.graph.initializer)
        for value, name in ((model.graph.input[0], INPUT_NAME), (model.graph.output[0], OUTPUT_NAME)):
            sizes = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            assert value.name == name
            assert sizes == (["N", "H", "W", 3] if io == "frame" else ["N", 3, "H", "W"])


@pytest.mark.parametrize("name", ["realtime", "standard"])
@pytest.mark.parametrize("size", [(1, 482, 270), (1, 333, 517), (1, 16, 16), (2, 31, 47)])
def test_pixels_in_pixels_out_as_pytorch_paints_them(
    styles: dict[tuple[str, str], Path], name: Build, size: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    network = build(name).eval()
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    (got,) = session_of(styles[name, "frame"]).run(None, {INPUT_NAME: frame})
    with torch.inference_mode():
        expected = FrameStyle(network)(torch.from_numpy(frame)).numpy()
    assert got.dtype == np.uint8
    assert got.shape == frame.shape
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_tensors_in_half_precision(styles: dict[tuple[str, str], Path]) -> None:
    given = np.random.default_rng(2).random((2, 3, 33, 50), dtype=np.float32)
    (got,) = session_of(styles["realtime", "tensor"]).run(None, {INPUT_NAME: given})
    torch.manual_seed(0)
    with torch.inference_mode():
        expected = build("realtime").eval()(torch.from_numpy(given)).clamp(0, 1).numpy()
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 0.02
    types = {t.data_type for t in onnx.load(styles["realtime", "tensor"]).graph.initializer if len(t.dims) == 4}
    assert types <= {onnx.TensorProto.FLOAT16}


def test_a_network_that_paints_nonsense_is_not_written(tmp_path: Path) -> None:
    network = build("realtime")
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    for io in IOS:
        with pytest.raises(InputError, match=r"style\.onnx' not written"):
            export_style(network, tmp_path / "style.onnx", StyleCard(), io=io)
    assert list(tmp_path.iterdir()) == []


def test_the_network_itself_is_left_alone(tmp_path: Path) -> None:
    network = build("realtime").train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    export_style(network, tmp_path / "style.onnx", StyleCard(), half=True)
    assert network.training
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in network.state_dict().items())


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output folder .* does not exist"):
        export_style(build("realtime"), tmp_path / "nowhere" / "style.onnx", StyleCard())


def test_the_card_survives(tmp_path: Path) -> None:
    card = StyleCard(name="näme", title="T", training={"steps": 3}, figures={"j": 1.5}, network={"build": "realtime"})
    export_style(build("realtime"), tmp_path / "style.onnx", card)
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "style.onnx").metadata_props}
    got = StyleCard.from_metadata(metadata)
    assert got is not None
    assert (got.name, got.training, got.figures) == ("näme", {"steps": 3}, {"j": 1.5})
    assert got.network == {"build": "realtime", "precision": "fp32"}


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 4), (4, 2), (1, 2)])
def test_a_convolution_over_cells_is_the_one_over_pixels(before: int, after: int) -> None:
    torch.manual_seed(before * 10 + after)
    conv = torch.nn.Conv2d(5, 3 * after**2, 3, padding=1)
    x = torch.randn(2, 5 * before**2, 6, 7)
    with torch.inference_mode():
        expected = F.pixel_shuffle(conv(F.pixel_shuffle(x, before)), after)
        got = F.pixel_shuffle(conv_over_cells(conv, before, after)(x), before * after)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["realtime", "standard"])
def test_the_fused_network_paints_the_same(name: Build) -> None:
    torch.manual_seed(1)
    network = build(name).eval()
    frame = torch.rand(2, 3, 37, 50)
    with torch.inference_mode():
        torch.testing.assert_close(fuse(network)(frame), network(frame), atol=2e-4, rtol=1e-3)
    assert not any(isinstance(module, UpsampleConv) for module in fuse(network).modules())
