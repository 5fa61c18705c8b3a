"""The networks and the VGG features."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from allaprima.errors import InputError
from allaprima.models.features import weights_hash
from allaprima.models.transformer import Build, UpsampleConv, build
from allaprima.models.vgg import CONVOLUTIONS, VGGFeatures, find_weights, layer_names, load_vgg

BUILDS: tuple[Build, ...] = ("realtime", "standard")


@pytest.mark.parametrize("name", BUILDS)
def test_output_has_the_size_of_the_input(name: Build) -> None:
    network = build(name).eval()
    random = np.random.default_rng(0)
    sizes = [(16, 16), (17, 16), (18, 19), *(tuple(map(int, random.integers(16, 90, 2))) for _ in range(5))]
    with torch.inference_mode():
        for height, width in sizes:
            assert network(torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


def test_standard_is_the_reference_network() -> None:
    assert sum(p.numel() for p in build("standard").parameters()) == pytest.approx(1.68e6, rel=0.005)


@pytest.mark.parametrize("name", BUILDS)
def test_same_seed_same_network(name: Build) -> None:
    torch.manual_seed(3)
    first = build(name).state_dict()
    torch.manual_seed(3)
    second = build(name).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_picture_in_a_batch_is_painted_as_if_alone() -> None:
    network = build("realtime").eval()
    frames = torch.rand(3, 3, 40, 56)
    with torch.inference_mode():
        torch.testing.assert_close(network(frames)[1:2], network(frames[1:2]), atol=1e-4, rtol=1e-4)


def test_a_fresh_realtime_network_has_no_checkerboard() -> None:
    """Sub-pixel ends start as nearest-neighbour upsampling: both pixels of a pair are the same."""
    torch.manual_seed(0)
    with torch.inference_mode():
        painted = build("realtime").eval()(torch.rand(1, 3, 64, 64))
    assert torch.equal(painted[..., ::2, ::2], painted[..., 1::2, 1::2])


def test_a_fresh_realtime_network_is_mid_grey_at_its_end() -> None:
    end = build("realtime").get_submodule("core.end.3")
    assert isinstance(end, torch.nn.Conv2d)
    assert end.bias is not None
    assert torch.equal(end.bias, torch.full((12,), 0.5))


def test_pixels_enter_realtime_exactly() -> None:
    """The int8 graph stores the frame as it is: pixel 128 must be 0 and 64 pixels 1."""
    network = build("realtime")
    pixels = torch.arange(256).view(1, 1, 1, 256).expand(1, 3, 16, 256) / 255
    prepared = network.prepare(pixels)[..., 8:-8, 8:-8]
    torch.testing.assert_close(prepared, ((torch.arange(256) - 128) / 64).expand_as(prepared), atol=1e-6, rtol=0)


def test_unknown_build() -> None:
    with pytest.raises(ValueError, match="got 'huge', expected"):
        build("huge")  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["vgg19", "vgg16"])
def test_vgg_is_torchvisions(architecture: str, tmp_path: Path) -> None:
    """Same weights, same activations as torchvision's own network."""
    import torchvision

    torch.manual_seed(0)
    original = torchvision.models.get_model(architecture, weights=None).eval()
    state = {k: v for k, v in original.state_dict().items() if k.startswith("features.")}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    picture = torch.rand(1, 3, 48, 64)
    for name in ("w.safetensors", "w.pth"):
        vgg, _ = load_vgg(["relu1_2", "relu4_2"], architecture=architecture, weights=tmp_path / name)  # type: ignore[arg-type]
        got = vgg(picture)
        x, relus = (picture - vgg.mean) / vgg.std, 0
        names = layer_names(architecture)  # type: ignore[arg-type]
        with torch.inference_mode():
            for module in original.features:
                x = module(x)
                if isinstance(module, torch.nn.ReLU):
                    if names[relus] in got:
                        torch.testing.assert_close(got[names[relus]], x)
                    relus += 1
    assert set(got) == {"relu1_2", "relu4_2"}


def test_vgg_stops_at_the_last_layer_needed() -> None:
    names = [name for name, _ in VGGFeatures(["relu2_1", "relu1_1"]).features.named_children()]
    assert names == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1", "relu2_1"]


def test_vgg_pooling_halves_at_every_stage() -> None:
    for average in (False, True):
        vgg = VGGFeatures(layer_names("vgg16"), architecture="vgg16", average_pooling=average)
        sizes = {name: tuple(a.shape[1:]) for name, a in vgg(torch.rand(1, 3, 64, 96)).items()}
        assert sizes["relu1_1"] == (64, 64, 96)
        assert sizes["relu3_3"] == (256, 16, 24)
        assert sizes["relu5_3"] == (512, 4, 6)
        assert len(sizes) == sum(CONVOLUTIONS["vgg16"])


def test_unknown_layer() -> None:
    with pytest.raises(InputError, match="got 'relu9_9', expected one of relu1_1"):
        VGGFeatures(["relu9_9"])


def test_weights_by_flag_come_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    hashes = {}
    for name in ("flag", "environment"):
        vgg = VGGFeatures(["relu1_1"])
        state = {"features.0.weight": torch.randn(64, 3, 3, 3), "features.0.bias": torch.randn(64)}
        vgg.load(state)
        hashes[name] = weights_hash(vgg)
        save_file(state, tmp_path / f"{name}.safetensors")
    monkeypatch.setenv("ALLAPRIMA_VGG", str(tmp_path / "environment.safetensors"))
    assert load_vgg(["relu1_1"])[1] == hashes["environment"]
    assert load_vgg(["relu1_1"], weights=tmp_path / "flag.safetensors")[1] == hashes["flag"]


def test_when_no_weights_are_to_be_had_one_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALLAPRIMA_VGG", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there: offline, on any machine
    with pytest.raises(InputError) as caught:
        find_weights("vgg19")
    assert "ALLAPRIMA_VGG" in str(caught.value)
    assert "--vgg-weights" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x04\x95\x00"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_broken_weights(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"broken{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match="broken"):
        find_weights("vgg19", file)


def test_weights_that_are_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "owned",))  # type: ignore[return-value]

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"evil\.pth"):
        find_weights("vgg19", tmp_path / "evil.pth")
    assert not (tmp_path / "owned").exists()


def test_weights_of_another_network(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"features\.0\.weight.*give torchvision's vgg19"):
        load_vgg(["relu1_1"], weights=tmp_path / "other.safetensors")


@pytest.mark.parametrize("seed", range(3))
def test_upsampling_convolution_is_upsample_then_convolve(seed: int) -> None:
    torch.manual_seed(seed)
    inputs, outputs, height, width = (int(n) for n in torch.randint(1, 9, (4,)))
    conv, x = UpsampleConv(inputs, outputs), torch.randn(2, inputs, height, width)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), conv.weight, padding=1)
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)
