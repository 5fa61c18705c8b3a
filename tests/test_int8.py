"""8-bit integers: what is stored, what the graph paints, and what is refused."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from allaprima.contract import INPUT_NAME, OUTPUT_NAME, StyleCard
from allaprima.infer.stylizer import Stylizer
from allaprima.models.export import with_card
from allaprima.models.graph import int8_graph
from allaprima.models.quantise import (
    WEIGHT_LEVELS,
    QuantisedNetwork,
    Range,
    quantise,
    rounded_in_turn,
    weight_scale,
)
from allaprima.models.transformer import ImageTransformer, ResidualBlock, build, realtime
from allaprima.pictures import Frame
from allaprima.train.int8 import onnx_painter, psnr_db, worst_layer


def photos(count: int, height: int = 80, width: int = 104) -> list[Frame]:
    """Shapes with some noise, (H, W, 3) uint8."""
    random = np.random.default_rng(count)
    y, x = np.mgrid[0:height, 0:width]
    frames = []
    for _ in range(count):
        a, b, c = random.uniform(5, 30, 3)
        noisy = np.stack([127 + 110 * np.sin(x / a + i) * np.cos(y / b - i) for i in range(3)], -1)
        noisy = np.add(noisy, random.normal(0, c / 3, (height, width, 3)))
        frames.append(noisy.clip(0, 255).astype(np.uint8))
    return frames


@pytest.fixture(scope="module")
def network() -> ImageTransformer:
    """Small, with weights that paint something."""
    torch.manual_seed(0)
    network = realtime(fine=16, wide=32, blocks=2, half=16).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="module")
def quantised(network: ImageTransformer) -> QuantisedNetwork:
    """With ranges from photos."""
    return quantise(network, photos(4))


def as_tensor(frame: Frame) -> torch.Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255


def as_frame(picture: torch.Tensor) -> Frame:
    return np.asarray((picture[0].clamp(0, 1) * 255).round().permute(1, 2, 0).to(torch.uint8))


def test_what_is_stored_by_hand() -> None:
    stored = Range(scale=0.5, zero_point=10).rounded(torch.tensor([-9.0, -5.0, 0.2, 0.3, 1.0, 500.0]))
    assert stored.tolist() == [-5.0, -5.0, 0.0, 0.5, 1.0, 122.5]  # 0 and 255 are the ends


def test_weights_have_seven_bits() -> None:
    """Two products of 255 and 63 fit 16 bits, in which processors without VNNI add them."""
    weight = torch.randn(5, 3, 3, 3) * torch.tensor([1e-3, 1, 10, 100, 0]).view(5, 1, 1, 1)
    steps = (weight / weight_scale(weight)).round()
    assert steps.abs().amax(dim=(1, 2, 3)).tolist() == [WEIGHT_LEVELS] * 4 + [0]
    assert 2 * 255 * WEIGHT_LEVELS < 2**15


@pytest.mark.parametrize("seed", range(4))
def test_weights_rounded_in_turn_make_up_for_each_other(seed: int) -> None:
    """On inputs with a common part, as those behind a ReLU have it, far less is lost than by rounding each weight."""
    random = torch.Generator().manual_seed(seed)
    weights, inputs = (torch.randn(shape, generator=random) for shape in ((8, 30), (30, 500)))
    weights, inputs = weights.clamp(-3, 3), inputs.abs() + inputs[:1]
    steps = rounded_in_turn(20 * weights, inputs @ inputs.T / 500)
    assert torch.equal(steps, steps.round())
    assert steps.abs().max() <= WEIGHT_LEVELS
    lost, naive = (((s - 20 * weights) @ inputs).square().mean() for s in (steps.float(), (20 * weights).round()))
    assert lost < 0.5 * naive


def test_weights_of_inputs_that_are_never_there_are_rounded_too() -> None:
    weights = torch.tensor([[1.4, -2.6], [0.2, 300.0]])
    assert rounded_in_turn(weights, torch.zeros(2, 2)).tolist() == [[1, -3], [0, WEIGHT_LEVELS]]


def test_a_layer_that_fell_silent_does_not_keep_a_style_from_being_written(network: ImageTransformer) -> None:
    silent = copy.deepcopy(network)
    block = next(module for module in silent.modules() if isinstance(module, ResidualBlock))
    first, second = (module.bias for module in block.modules() if isinstance(module, torch.nn.Conv2d))
    assert first is not None
    assert second is not None
    with torch.no_grad():
        first.fill_(-1e4)
        second.fill_(0.5)
    paint = onnx_painter(int8_graph(quantise(silent, photos(4))).SerializeToString())
    (frame,) = photos(1)
    with torch.inference_mode():
        assert psnr_db(paint(frame), as_frame(silent(as_tensor(frame)))) > 32


def test_the_integers_keep_every_channel_s_mean(quantised: QuantisedNetwork) -> None:
    """Also that of each pixel in a cell of the last layer: a difference would be a grid."""
    differences = []
    with torch.inference_mode():
        for frame in map(as_tensor, photos(4)):
            exact = quantised.network(frame).clamp(0, 1)
            differences.append(255 * (quantised.paint(frame) - exact))
    flat = torch.cat([F.pixel_unshuffle(d, 4).flatten(2) for d in differences], dim=2)
    assert flat.mean(dim=(0, 2)).abs().max() < 0.5


@pytest.mark.parametrize("size", [(80, 104), (33, 50), (16, 16), (17, 95)])
def test_the_graph_paints_what_the_rounded_network_paints(quantised: QuantisedNetwork, size: tuple[int, int]) -> None:
    [frame] = photos(1, *size)
    got = onnx_painter(int8_graph(quantised).SerializeToString())(frame)
    with torch.inference_mode():
        expected = as_frame(quantised.paint(as_tensor(frame)))
    assert got.shape == frame.shape
    assert psnr_db(got, expected) > 40  # sums in another order: a few values round the other way


def test_int8_is_close_to_fp32(network: ImageTransformer, quantised: QuantisedNetwork) -> None:
    paint = onnx_painter(int8_graph(quantised).SerializeToString())
    for frame in photos(3):
        with torch.inference_mode():
            assert psnr_db(paint(frame), as_frame(network(as_tensor(frame)))) > 32


def test_a_batch_is_painted_one_by_one(quantised: QuantisedNetwork, tmp_path: Path) -> None:
    import onnxruntime

    frames = np.stack(photos(2))
    session = onnxruntime.InferenceSession(
        int8_graph(quantised).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (both,) = session.run([OUTPUT_NAME], {INPUT_NAME: frames})
    for frame, painted in zip(frames, both, strict=True):
        (alone,) = session.run([OUTPUT_NAME], {INPUT_NAME: frame[None]})
        assert np.array_equal(alone[0], painted)


def test_it_is_a_style_file(quantised: QuantisedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    path.write_bytes(with_card(int8_graph(quantised), StyleCard(name="s"), precision="int8"))
    stylizer = Stylizer(path)
    assert stylizer.card is not None
    assert stylizer.card.network["precision"] == "int8"
    [frame] = photos(1)
    assert stylizer(frame).shape == frame.shape
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    weights = [t for t in model.graph.initializer if len(t.dims) == 4]
    assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}


def test_the_runtime_works_in_integers(quantised: QuantisedNetwork, tmp_path: Path) -> None:
    """No convolution is left in floats, and none but the norms' values leave the integers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(int8_graph(quantised).SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    norms = kinds.count("InstanceNormalization")
    assert kinds.count("QLinearConv") == sum(layer.kind == "conv" for layer in quantised.layers)
    assert kinds.count("Conv") == 0
    assert kinds.count("QuantizeLinear") == norms
    assert kinds.count("DequantizeLinear") == norms


def test_the_worst_layer_is_the_one_with_the_worst_range(quantised: QuantisedNetwork) -> None:
    name = quantised.layers[3].name
    spoilt = QuantisedNetwork(
        quantised.network,
        quantised.core,
        quantised.ranges | {name: Range(quantised.ranges[name].scale * 40, 128)},
        quantised.weights,
    )
    assert worst_layer(spoilt, photos(2)) == name


def test_standard_has_no_integer_form() -> None:
    with pytest.raises(ValueError, match="which has no integer form"):
        quantise(build("standard"), photos(1))


def test_an_unknown_layer_is_named(network: ImageTransformer) -> None:
    odd = realtime(fine=16, wide=32, blocks=1, half=16)
    odd.core.down = nn.Sequential(odd.core.down, nn.Tanh())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="down_3: got Tanh"):
        quantise(odd, photos(1))


def test_psnr_by_hand() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr_db(black, black) == 99
    assert psnr_db(black, black + 255) == 0
    assert psnr_db(black, black + 51) == pytest.approx(20 * np.log10(5))
