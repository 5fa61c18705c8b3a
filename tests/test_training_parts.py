"""Configuration, photo stream, schedule, guard and checkpoints."""

import copy
import os
import resource
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from PIL import Image
from torch import Tensor

from allaprima.errors import InputError
from allaprima.models.transformer import ResidualBlock, build
from allaprima.pictures import Frame
from allaprima.train.card import make_card
from allaprima.train.checkpoint import FOLDER, Checkpoint, load_checkpoint, pack_optimizer, unpack_optimizer
from allaprima.train.config import DEFAULT_STEPS, SCRATCH_STEPS, TrainConfig
from allaprima.train.device import keep_freed_memory
from allaprima.train.guard import ATTEMPTS, Guard
from allaprima.train.losses import PerceptualLoss
from allaprima.train.optimizer import BETAS, VECTOR_SHARE, Muon, orthogonal, set_rate
from allaprima.train.photos import (
    Crops,
    PhotoList,
    Stream,
    divide,
    list_photos,
    middle_crop,
    random_crop,
    resize_shorter,
    to_tensor,
    views,
)
from allaprima.train.run_folder import can_be_resumed
from allaprima.train.schedule import JUDGE_EVERY, WINDOW, Schedule
from allaprima.train.start import BASE_FILE, start_from, write_base
from allaprima.train.strength import BALANCE, recolour, style_weight
from allaprima.train.view import moving_window


def config(**values: object) -> TrainConfig:
    return TrainConfig(painting=Path("p.jpg"), photos="photos", **values)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photo folder with good photos in sub-folders, and one of each kind that cannot be used."""
    random = np.random.default_rng(0)
    photos = tmp_path / "photos"
    (photos / "inner" / "deep").mkdir(parents=True)
    for number, (place, suffix) in enumerate([("", "jpg"), ("inner", "png"), ("inner/deep", "webp"), ("", "JPEG")]):
        pixels = random.integers(0, 255, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / place / f"{number}.{suffix}")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(photos / "tiny.png")
    (photos / "broken.jpg").write_bytes(b"not a picture")
    (photos / "notes.txt").write_text("no photo")
    return photos


def test_photos_are_found_recursively_and_the_others_are_named(folder: Path) -> None:
    photos = list_photos(folder, shorter_px=64)
    assert sorted(p.name for p in photos.paths) == ["0.jpg", "1.png", "2.webp", "3.JPEG"]
    reasons = {Path(path).name: reason for path, reason in photos.skipped.items()}
    assert set(reasons) == {"tiny.png", "broken.jpg"}
    assert "20x20" in reasons["tiny.png"]


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "no JPEG, PNG or WebP"), ({"a.jpg": b"junk", "b.png": b""}, "2 picture files, none usable")],
)
def test_a_folder_without_photos(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list_photos(tmp_path, shorter_px=64)


def test_a_photo_that_only_looks_whole_is_replaced_and_reported(folder: Path) -> None:
    good = folder / "0.jpg"
    (folder / "cut.jpg").write_bytes(good.read_bytes()[:-900])
    photos = list_photos(folder, shorter_px=64)
    crops = Crops(photos.paths, size_px=64, flip=True, seed=0)
    bad = next(i for i, p in enumerate(photos.paths) if p.name == "cut.jpg")
    sample = crops[bad, 0]
    assert sample["unreadable"].item() == bad
    assert sample["photo"].shape == (3, 64, 64)
    assert crops[(bad + 1) % len(photos.paths), 0]["unreadable"].item() == -1


def test_every_photo_comes_once_an_epoch_in_another_order() -> None:
    batches = list(Stream(10, batch=5, start=0, stop=4, seed=1))
    first, second = ([i for b in half for i, _ in b] for half in (batches[:2], batches[2:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_goes_on_where_it_was_left(seed: int) -> None:
    random = np.random.default_rng(seed)
    photos, batch = int(random.integers(2, 12)), int(random.integers(1, 9))
    whole = list(Stream(photos, batch=batch, start=0, stop=20, seed=seed))
    for start in (1, 7, 19):
        assert list(Stream(photos, batch=batch, start=start, stop=20, seed=seed)) == whole[start:]


def test_processes_share_a_step_s_photos() -> None:
    """Two processes see together, step by step, what one sees alone."""
    alone = list(Stream(11, batch=4, start=3, stop=9, seed=0))
    parts = [
        list(BatchSamplerShard(Stream(11, batch=4, start=3, stop=9, seed=0), 2, i, split_batches=True))
        for i in range(2)
    ]
    assert [a + b for a, b in zip(*parts, strict=True)] == alone


def test_a_crop_depends_on_its_number_alone(folder: Path) -> None:
    paths = list_photos(folder, shorter_px=64).paths
    crops = Crops(paths, size_px=64, flip=True, seed=5)
    assert torch.equal(crops[0, 17]["photo"], Crops(paths, size_px=64, flip=True, seed=5)[0, 17]["photo"])
    assert not torch.equal(crops[0, 17]["photo"], crops[0, 18]["photo"])


@pytest.mark.parametrize("seed", range(5))
def test_crops_have_their_size_whatever_the_photo(seed: int) -> None:
    random = np.random.default_rng(seed)
    photo = random.integers(0, 255, (*random.integers(20, 300, 2), 3), dtype=np.uint8)
    assert random_crop(photo, 64, random, flip=True).shape == (64, 64, 3)
    assert min(resize_shorter(photo, 50).shape[:2]) == 50


@pytest.mark.parametrize(
    ("height", "width", "shapes"),
    [
        (60, 90, (1, 3, 32, 48)),
        (90, 60, (1, 3, 48, 32)),
        (20, 80, (1, 3, 32, 128)),
        (20, 81, (2, 3, 32, 128)),
        (2000, 20, (4, 3, 128, 32)),
    ],
)
def test_a_panorama_is_seen_in_parts(height: int, width: int, shapes: tuple[int, ...]) -> None:
    painting = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert views(painting, 32).shape == shapes


def test_the_parts_of_a_panorama_reach_from_end_to_end() -> None:
    painting = np.zeros((10, 100, 3), np.uint8)
    painting[:, :5], painting[:, -5:] = 255, 255
    parts = views(painting, 10)
    assert parts[0, :, :, :5].min() == parts[-1, :, :, -5:].min() == 1
    assert parts[1].max() == 0


def test_the_middle_of_a_photo() -> None:
    photo = np.zeros((40, 80, 3), np.uint8)
    photo[:, 20:60] = 255
    assert torch.equal(middle_crop(photo, 40), torch.ones(1, 3, 40, 40))


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    schedule = Schedule.plan(config(learning_rate=1.0, warmup=0.1, decay=0.4), 100)
    rates = [schedule.rate(step) for step in range(100)]
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert set(rates[10:61]) == {1.0}
    assert all(a > b for a, b in pairwise(rates[60:]))
    assert rates[80] == pytest.approx(0.5)
    assert rates[-1] < 2e-3


def test_the_rate_falls_early_once_j_does_not() -> None:
    schedule = Schedule.plan(config(warmup=0.1, decay=0.2), 10_000)
    step = JUDGE_EVERY * 20
    for number in range(3 * WINDOW):  # 5 % better each time: no reason to stop
        assert not schedule.judge(step, 2 * 0.95**number)
        step += JUDGE_EVERY
    answers = [schedule.judge(step + JUDGE_EVERY * number, 1.08) for number in range(2 * WINDOW)]
    assert answers.index(True) >= WINDOW // 2
    ended = step + JUDGE_EVERY * (2 * WINDOW - 1)
    assert schedule.steps == ended + 2000
    assert schedule.rate(ended + 1000) == pytest.approx(schedule.highest / 2)


def test_j_is_looked_at_on_the_level_part_only() -> None:
    schedule = Schedule.plan(config(warmup=0.1, decay=0.4), 1000)
    looks = [step for step in range(1001) if schedule.wants_judgement(step)]
    assert looks == list(range(100, 600, JUDGE_EVERY))


class Edges(torch.nn.Module):
    """Stands for a loss network: one layer, how much neighbouring pixels differ."""

    def forward(self, picture: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"edges": picture.diff(dim=-1).abs()}


def edge_loss(painting: Frame) -> PerceptualLoss:
    return PerceptualLoss(
        Edges()(to_tensor(painting)),
        content_layer="edges",
        style_layers={"edges": 1.0},
        style_weight=0,
        tv_weight=0,
        grid_weight=0,
    )


HALVES: Frame = np.tile(np.array([0, 0, 255, 255], np.uint8)[:, None], (4, 1, 3))  # (4, 4, 3): black beside white
STRIPES = torch.tensor([64, 191, 64, 191], dtype=torch.uint8).expand(2, 3, 4, 4)  # photos, (2, 3, 4, 4)


@pytest.mark.parametrize(("strength", "times"), [(0.0, 0.0), (1.0, 1.0), (2.0, 2**1.5)])
def test_strength_weighs_the_style_by_what_a_photo_in_the_paintings_colours_lacks(
    strength: float, times: float
) -> None:
    """In the painting's colours the stripes are black and white, so their edges are 1, where they were 127/255.

    Content: ((1 - 127/255) / (127/255))^2. Gram matrices: 1, and 1/3 for the painting with one edge in three, so the
    style distance is ((1 - 1/3) / (1/3))^2 = 4.
    """
    got = style_weight(strength, edge_loss(HALVES), Edges(), HALVES, STRIPES)  # type: ignore[arg-type]
    assert got == pytest.approx(BALANCE * times * (128 / 127) ** 2 / 2, rel=5e-3)


def test_photos_that_are_the_painting_have_no_strength() -> None:
    photos = torch.from_numpy(HALVES).permute(2, 0, 1).expand(2, 3, 4, 4)
    with pytest.raises(InputError, match="look like the painting already"):
        style_weight(1.0, edge_loss(HALVES), Edges(), HALVES, photos)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_a_recoloured_picture_has_the_colours_asked_for_and_keeps_their_order(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    picture = torch.rand(1, 3, 40, 50, generator=random)
    mix = torch.rand(3, 3, generator=random, dtype=torch.float64) * 0.05
    mean, covariance = torch.full((3,), 0.5, dtype=torch.float64), mix @ mix.T
    pixels = recolour(picture, mean, covariance)[0].double().flatten(1)
    assert torch.allclose(pixels.mean(1), mean, atol=1e-3)
    assert torch.allclose(torch.cov(pixels), covariance, atol=1e-4)
    own = picture[0].double().flatten(1)
    assert torch.allclose(recolour(picture, own.mean(1), torch.cov(own)), picture, atol=1e-5)
    flat = picture[..., :1, :1].expand(-1, -1, 2, 2)
    assert (recolour(flat, mean, covariance) - 0.5).abs().max() < 1e-6


def test_a_start_of_another_network_says_so(tmp_path: Path) -> None:
    checkpoint(1, *trained()).save(tmp_path, keep=1)
    file = next(tmp_path.iterdir())
    network = torch.nn.Linear(3, 2)
    start_from(str(file), network, build="realtime")
    assert torch.equal(network.weight, load_checkpoint(file).network["weight"])
    with pytest.raises(InputError, match=r"--from .*safetensors: its network is another than 'realtime'"):
        start_from(str(file), torch.nn.Linear(3, 5), build="realtime")
    with pytest.raises(InputError, match="run or checkpoint 'nowhere' does not exist"):
        start_from("nowhere", network, build="realtime")


def test_realtime_starts_from_the_base_that_ships_and_standard_from_nothing() -> None:
    assert (config().start, config().default_steps) == ("base", DEFAULT_STEPS)
    assert (config(build="standard").start, config(build="standard").default_steps) == ("scratch", SCRATCH_STEPS)
    assert config(from_="scratch").default_steps == SCRATCH_STEPS
    network = build("realtime")
    start_from("base", network, build="realtime")
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    disc = ((y - 48) ** 2 + (x - 64) ** 2 < 32**2).float()
    with torch.no_grad():
        painted = network((0.2 + 0.6 * disc).expand(1, 3, -1, -1)).mean(1)[0]
    assert torch.corrcoef(torch.stack([painted.flatten(), disc.flatten()]))[0, 1] > 0.6  # it sees, and draws


def test_a_base_that_does_not_fit_or_is_damaged_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"--from base: the base is a 'realtime' network: .* --from scratch"):
        start_from("base", build("standard"), build="standard")
    damaged = tmp_path / "base.safetensors"
    monkeypatch.setattr("allaprima.train.start.BASE_FILE", damaged)
    for content in (None, b"", b"no tensors", BASE_FILE.read_bytes()[:5000]):
        if content is not None:
            damaged.write_bytes(content)
        with pytest.raises(InputError, match=r"the base '.*base.safetensors' is missing or damaged: .* --from scratch"):
            start_from("base", build("realtime"), build="realtime")


def test_a_base_is_written_in_half_precision_and_read_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allaprima.train.start.BASE_FILE", tmp_path / "base.safetensors")
    network, other = build("realtime"), build("realtime")
    write_base(network.state_dict())
    start_from("base", other, build="realtime")
    parameters = sum(value.numel() for value in network.state_dict().values())
    assert (tmp_path / "base.safetensors").stat().st_size < 2 * parameters + 10_000
    for name, value in other.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, network.state_dict()[name].half().float())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 3}, "--size: got 3, expected at least 64"),
        ({"batch": 0}, "--batch: got 0"),
        ({"steps": 5, "epochs": 1.0}, "--steps and --epochs"),
        ({"learning_rate": 0.0}, "--learning-rate: got 0.0"),
        ({"style_layers": {}}, "--style-layers"),
        ({"style_layers": {"relu1_1": 0.0}}, "--style-layers"),
        ({"warmup": 1.1}, "--warmup: got 1.1"),
        ({"warmup": 0.7}, "--warmup and --decay: got 1.15 together"),
        ({"strength": -1.0}, "--strength: got -1.0, expected 0 to 2"),
        ({"strength": float("nan")}, "--strength: got nan, expected 0 to 2"),
        ({"stroke_size": 0.0}, "--stroke-size: got 0.0"),
        ({"name": "../elsewhere"}, "--name: got '../elsewhere'"),
    ],
)
def test_a_configuration_names_the_flag_that_is_wrong(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**values)


def test_a_configuration_survives_json() -> None:
    c = config(size=128, style_layers={"relu3_1": 2.0}, vgg_weights=Path("w.pth"))
    assert TrainConfig.from_json(c.to_json()) == c
    assert TrainConfig.from_json(c.to_json() | {"from_the_future": 1}) == c


def entry(total: float = 1.0, contrast: float = 0.2) -> dict[str, float]:
    return {"total": total, "contrast": contrast}


def test_the_guard_sees_what_is_wrong() -> None:
    guard = Guard()
    assert guard.trouble([entry()], warming_up=False) is None
    for bad in (float("nan"), float("inf")):
        assert "not a number" in str(guard.trouble([entry(), entry(bad), entry()], warming_up=True))
    flat = [entry(contrast=0.0)]
    assert "flat" in str(guard.trouble(flat, warming_up=False))
    assert guard.trouble(flat, warming_up=True) is None
    assert guard.trouble([*flat, entry()], warming_up=False) is None


def test_the_guard_slows_down_three_times_then_gives_up() -> None:
    guard = Guard()
    for number in range(1, ATTEMPTS + 1):
        assert "back to the last good step" in guard.slow_down("bad")
        assert guard.rate_scale == 0.5**number
    with pytest.raises(InputError, match=r"gave up: bad, also after 3 rollbacks: try a lower --learning-rate"):
        guard.slow_down("bad")


def checkpoint(step: int, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    return Checkpoint(
        config=config(seed=7, style_weight=10.0),
        step=step,
        schedule=Schedule(1e-3, 100, 10.0, 40, [2.0, 1.5]),
        rate_scale=0.25,
        loss_network={"architecture": "vgg19", "sha256": "abc"},
        photos="f",
        network=dict(network.state_dict()),
        optimizer=pack_optimizer(optimizer),
        random=torch.get_rng_state(),
    )


def test_a_card_says_how_many_steps_there_were() -> None:
    """Not how many were asked for: by default none are, and a training may end early."""
    for asked in ({}, {"steps": 400}, {"epochs": 2.0}):
        card = make_card(config(**asked), build("realtime"), {}, None, steps=150)
        assert (card.training["steps"], card.training["epochs"]) == (150, None)


def test_a_card_tells_no_folder_of_this_machine() -> None:
    card = make_card(config(from_="/home/me/runs/begun"), build("realtime"), {}, None, steps=1)
    assert card.training["from_"] == "begun"
    assert "/home/me" not in str(card)
    assert make_card(config(from_="base"), build("realtime"), {}, None, steps=1).training["from_"] == "base"


def trained() -> tuple[torch.nn.Linear, torch.optim.Adam]:
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    return network, optimizer


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    network, optimizer = trained()
    saved = checkpoint(30, network, optimizer)
    (tmp_path / FOLDER).mkdir()
    saved.save(tmp_path / FOLDER, keep=3)
    loaded = load_checkpoint(tmp_path)
    assert (loaded.config, loaded.step, loaded.schedule, loaded.rate_scale) == (saved.config, 30, saved.schedule, 0.25)
    assert loaded.loss_network == saved.loss_network
    assert torch.equal(loaded.random, saved.random)
    other = torch.nn.Linear(3, 2)
    other.load_state_dict(loaded.network)
    again = torch.optim.Adam(other.parameters(), lr=0.1)
    unpack_optimizer(again, loaded.optimizer)
    for net, opt in ((network, optimizer), (other, again)):
        opt.zero_grad()
        net(torch.ones(1, 3)).square().sum().backward()
        opt.step()
    assert torch.equal(network.weight, other.weight)


def test_a_checkpoint_of_another_network_says_so() -> None:
    network = torch.nn.Linear(3, 2)
    saved = checkpoint(1, network, torch.optim.Adam(network.parameters()))
    saved.fill(torch.nn.Linear(3, 2))
    with pytest.raises(InputError, match="'realtime' is another network than today's") as caught:
        saved.fill(torch.nn.Linear(3, 5))
    assert "\n" not in str(caught.value)


def test_only_the_last_checkpoints_stay(tmp_path: Path) -> None:
    for step in (5, 10, 100, 1000):
        checkpoint(step, *trained()).save(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000100.safetensors", "step-0001000.safetensors"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "pickle", "foreign"])
def test_a_damaged_checkpoint(tmp_path: Path, damage: str) -> None:
    path = checkpoint(1, *trained()).save(tmp_path, keep=1)
    whole = path.read_bytes()
    if damage == "foreign":
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(1)}, path)
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "pickle": b"\x80\x04."}[damage])
    with pytest.raises(InputError, match=r"step-0000001\.safetensors"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    """The kernel itself refuses the write, in a child whose files may not grow beyond what the first one needed."""
    network, optimizer = trained()
    first = checkpoint(1, network, optimizer).save(tmp_path, keep=5)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (first.stat().st_size // 2, resource.RLIM_INFINITY))
            checkpoint(2, network, optimizer).save(tmp_path, keep=5)
        except InputError as error:
            code = 0 if "no space left" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [p.name for p in tmp_path.iterdir()] == [first.name]
    assert load_checkpoint(first).step == 1


def test_a_few_photos_are_held_out_of_many() -> None:
    paths = [Path(f"{number}.jpg") for number in range(60)]
    used, unseen = divide(PhotoList(list(paths)))
    assert (len(used.paths), len(unseen)) == (52, 8)
    assert {*used.paths, *unseen} == {*paths}
    used, unseen = divide(PhotoList(paths[:10]))  # of a small collection, those few are trained on as well
    assert (len(used.paths), len(unseen)) == (10, 8)


def test_the_window_moves_and_mirrors_the_border() -> None:
    picture = torch.arange(32.0 * 32).reshape(1, 1, 32, 32).expand(2, 3, 32, 32)
    mirrored = torch.nn.functional.pad(picture, (8, 8, 8, 8), mode="reflect")
    places = set()
    for step in range(40):
        first, second = moving_window(step, 0, picture, picture + 1)
        assert torch.equal(first + 1, second)  # the same window of both
        top, left = divmod(int(first[0, 0, 16, 16].item()), 32)  # where its middle lies in the picture
        assert torch.equal(first, mirrored[..., top - 8 : top + 24, left - 8 : left + 24])
        places.add((top, left))
    assert len(places) > 20
    assert torch.equal(moving_window(3, 1, picture)[0], moving_window(3, 1, picture)[0])


# The optimizer.


@pytest.mark.parametrize("shape", [(7, 3, 3, 3), (16, 2, 2, 2), (5, 5, 1, 1)])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_a_step_moves_filters_as_far_in_every_direction(shape: tuple[int, ...], scale: float) -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv2d(shape[1], shape[0], shape[2], bias=False)
    before = network.weight.detach().clone()
    optimizer = Muon(network, 0.5)
    network.weight.grad = scale * torch.randn(shape)
    optimizer.step()
    step = (before - network.weight.detach()).flatten(1)
    lengths = torch.linalg.svdvals(step) / (0.5 * (step.shape[0] / step.shape[1]) ** 0.5)
    assert lengths.min() > 0.6
    assert lengths.max() < 1.3
    assert (step * network.weight.grad.flatten(1)).sum() > 0  # downhill


def test_of_an_orthogonal_gradient_the_step_keeps_the_directions() -> None:
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.manual_seed(0)))
    for matrix in (turn, turn[:2], turn[:, :2]):
        scaled = orthogonal(100 * matrix)
        size = scaled.norm() / matrix.norm()
        assert 0.6 < size < 1.3
        torch.testing.assert_close(scaled, size * matrix, atol=1e-5, rtol=1e-4)


def test_filters_coast_on_what_they_have_of_momentum() -> None:
    network = torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    optimizer, steps = Muon(network, 1.0), []
    for gradient in (1.0, 1.0, -4.0, 0.0):  # momentum 0.1, 0.19, -0.229, -0.2061: of that and the gradient, the sign
        before = network.weight.item()
        network.weight.grad = torch.full((1, 1, 1, 1), gradient)
        optimizer.step()
        steps.append(network.weight.item() - before)
    assert [step > 0 for step in steps] == [False, False, True, True]


def test_in_blocks_no_step_moves_all_weights_of_a_filter_alike() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 3, 3), torch.nn.Conv2d(3, 2, 3)
    network = torch.nn.Sequential(ResidualBlock(layers[0]), layers[1])
    before = [layer.weight.detach().clone() for layer in layers]
    for parameter in network.parameters():
        parameter.grad = torch.rand(parameter.shape) + 1
    Muon(network, 1.0).step()
    moved = [(layer.weight - old).mean((1, 2, 3)).abs().max() for layer, old in zip(layers, before, strict=True)]
    assert moved[0] < 1e-6
    assert moved[1] > 1e-3


def test_biases_and_norms_take_the_steps_of_adam_at_their_share() -> None:
    torch.manual_seed(0)
    ours, torchs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torchs.load_state_dict(ours.state_dict())
    optimizer, adam = Muon(ours, 1.0), torch.optim.Adam(torchs.parameters(), lr=0.01 * VECTOR_SHARE, betas=BETAS)
    set_rate(optimizer, 0.01)
    for _ in range(5):
        for network, taking in ((ours, optimizer), (torchs, adam)):
            taking.zero_grad()
            network(torch.tensor([[1.0, -2.0, 0.5]])).square().sum().backward()
            taking.step()
    torch.testing.assert_close(ours.state_dict(), torchs.state_dict())


def test_a_packed_optimizer_goes_on_alike() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.InstanceNorm2d(4, affine=True))
    photos = torch.rand(4, 2, 3, 8, 8)

    def step(network: torch.nn.Module, optimizer: Muon, photo: Tensor) -> None:
        optimizer.zero_grad()
        network(photo).pow(4).sum().backward()
        optimizer.step()

    optimizer = Muon(network, 0.1)
    for photo in photos[:2]:
        step(network, optimizer, photo)
    again = copy.deepcopy(network)
    resumed = Muon(again, 0.1)
    unpack_optimizer(resumed, pack_optimizer(optimizer))
    for photo in photos[2:]:
        step(network, optimizer, photo)
        step(again, resumed, photo)
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of Linux's C library")
def test_memory_that_is_freed_stays_for_the_next_step() -> None:
    def faults(blocks: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(blocks):
            torch.empty(40 << 20, dtype=torch.uint8).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    if not keep_freed_memory():
        pytest.skip("not glibc")
    assert faults(100) < 300_000  # of 1,024,000 pages: small blocks settle in between, until each has its place


def test_a_run_stopped_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    assert not can_be_resumed(tmp_path / "none")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert not can_be_resumed(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step-0000010.safetensors").touch()
    assert can_be_resumed(tmp_path / "run")
