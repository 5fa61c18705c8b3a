"""`allaprima photos DIR`: what a folder is worth for training."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import isolated
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_image_command import forged_png, truncated_jpeg

from allaprima.cli import main
from allaprima.pictures import Frame, read_header, read_picture, write_picture
from allaprima.train.survey import NEAR_BITS, look, look_at, near_duplicates, perceptual_hash, take_stock, verdict


def scene(seed: int, width: int = 320, height: int = 240) -> Frame:
    """Soft patches of colour, others for each seed: (H, W, 3) uint8 RGB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)


def fill(folder: Path, count: int, **size: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        write_picture(folder / f"{seed:03}.jpg", scene(seed, **size))
    return folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Ten photos, two copies of the first, a small, a grey and four broken ones."""
    folder = fill(tmp_path / "mixed", 10)
    with Image.open(folder / "000.jpg") as first:
        (folder / "sub").mkdir()
        first.save(folder / "sub" / "again.webp", quality=50)
        first.resize((640, 480)).save(folder / "sub" / "large.png")
    write_picture(folder / "small.png", scene(20, 200, 127))
    Image.fromarray(scene(21)).convert("L").save(folder / "grey.jpg")
    truncated_jpeg(folder / "truncated.jpg")
    (folder / "wrong.jpg").write_text("<html>")
    (folder / "huge.png").write_bytes(forged_png(20_000, 20_000))
    write_picture(folder / "dot.png", scene(0, 4, 4))
    (folder / "notes.txt").touch()
    write_picture(folder / ".hidden.jpg", scene(22))
    return folder


def facts(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["photos", str(folder), "--json", *words]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    found: dict[str, Any] = json.loads(output)
    return found


def test_everything_is_found(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(mixed, capsys)
    assert (found["files"], found["seen"], found["readable"], found["different"]) == (18, 18, 14, 11)
    assert found["formats"] == {"JPEG": 11, "PNG": 2, "WEBP": 1}
    assert found["small"] == [str(mixed / "small.png")]
    assert found["grey"] == [str(mixed / "grey.jpg")]
    assert found["duplicates"] == [[str(mixed / name) for name in ("000.jpg", "sub/again.webp", "sub/large.png")]]
    problems = {Path(name).name: problem for name, problem in found["broken"].items()}
    assert set(problems) == {"truncated.jpg", "wrong.jpg", "huge.png", "dot.png"}
    assert "truncated" in problems["truncated.jpg"]
    assert "is not a JPEG, PNG or WebP picture" in problems["wrong.jpg"]
    assert "claims more than" in problems["huge.png"]
    assert "is 4x4 px" in problems["dot.png"]
    sizes = [(row["from"], row["below"], row["photos"]) for row in found["shorter_side_px"]]
    assert sizes[:3] == [(0, 128, 1), (128, 256, 12), (256, 512, 1)]
    assert sizes[-1] == (4096, None, 0)
    assert found["verdict"][0].startswith("too few: 11 different photos serve for training at --size 256")


def test_another_crop_size(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(mixed, capsys, "--size", "800")  # at least 400 px: only large.png
    assert (len(found["small"]), found["different"], found["duplicates"]) == (13, 1, [])
    assert found["shorter_side_px"][3] == {"from": 400, "below": 512, "photos": 1}
    assert "a --size of less than 800 takes in more" in " ".join(found["verdict"])


def test_the_table(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        shutil.copy(mixed / "wrong.jpg", mixed / f"wrong{number}\x1b.jpg")
    assert main(["photos", str(mixed)]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert lines[0] == f"{mixed}: 30 picture files"
    for line in ("11 JPEG", "16 broken", "1 too small for --size 256", "1 grey", "2 near-duplicates, of 1 photos"):
        assert line in lines
    assert "11 different photos that a training uses" in lines
    assert any(line.startswith("128 to 255 px 12 ####") for line in lines)
    assert "and 6 more (--json names all)" in lines
    assert "\x1b" not in output
    assert any(line.startswith("too few") for line in lines)


def test_real_photos(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = sorted((shared / "photos" / "val").glob("*.jpg"))[:60]
    for path in photos:
        shutil.copy(path, tmp_path)
    for path in photos[:3]:
        with Image.open(path) as image:
            image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(tmp_path / f"{path.stem}-web.jpg")
    found = facts(tmp_path, capsys)
    assert (found["readable"], found["different"], found["broken"]) == (63, 60, {})
    assert found["duplicates"] == [[str(tmp_path / f"{p.stem}{end}.jpg") for end in ("-web", "")] for p in photos[:3]]


def test_the_verdict_follows_the_count(tmp_path: Path) -> None:
    photo = look(fill(tmp_path / "in", 1) / "000.jpg")
    spread = np.random.default_rng(0).integers(0, 2**63, 1000)  # nearest of these: some 12 bits apart
    many = [type(photo)(photo.path, format="JPEG", shorter_px=300, hash=int(value)) for value in spread]
    for count, word in (
        (0, "nothing"),
        (199, "too few: 199"),
        (200, "enough to begin with: 200"),
        (1000, "enough: 1,"),
    ):
        assert verdict(take_stock(many[:count]))[0].startswith(word)
    assert verdict(take_stock(many))[0].endswith("show 800 of them")
    assert verdict(take_stock(many[:500]))[0].endswith("show each 1.6 times")
    grey = [type(photo)(photo.path, format="JPEG", shorter_px=300, hash=int(v), grey=True) for v in spread[:100]]
    assert "many are grey" in " ".join(verdict(take_stock(grey)))
    assert "more than once" in " ".join(verdict(take_stock([*many[:300], *many[:100]])))


# Its parts.


def test_hashes_of_one_photo_are_near_and_of_others_far() -> None:
    picture = scene(0)
    hashed = perceptual_hash(picture)
    assert (hashed ^ perceptual_hash(np.ascontiguousarray(picture[::2, ::2]))).bit_count() <= NEAR_BITS
    assert (hashed ^ perceptual_hash(np.asarray(picture * 0.8 + 20, dtype=np.uint8))).bit_count() <= NEAR_BITS
    assert min((hashed ^ perceptual_hash(scene(seed))).bit_count() for seed in range(1, 40)) > NEAR_BITS


def test_groups_agree_with_comparing_all_with_all() -> None:
    random = np.random.default_rng(0)
    hashes = [int(value) for value in random.integers(0, 2**64, 300, dtype=np.uint64)]
    for distance in range(12):
        start = hashes[distance]
        hashes.append(start ^ sum(1 << int(bit) for bit in random.permutation(64)[:distance]))
    hashes.append(hashes[-4] ^ 0b11)  # a chain: near to a near one
    hashes += hashes[:3]
    near = [{j for j, b in enumerate(hashes) if (a ^ b).bit_count() <= NEAR_BITS} for a in hashes]
    expected = set()
    for start_set in near:
        group, grown = set(start_set), set[int]()
        while grown != group:
            grown, group = group, group.union(*(near[i] for i in group))
        if len(group) > 1:
            expected.add(tuple(sorted(group)))
    found = near_duplicates(np.array(hashes, dtype=np.uint64))
    assert {tuple(group) for group in found} == expected
    assert len(expected) >= NEAR_BITS
    assert near_duplicates(np.array([], dtype=np.uint64)) == []


def test_files_are_looked_at_in_order_and_not_all_ahead(tmp_path: Path) -> None:
    paths = sorted(fill(tmp_path / "in", 20, width=64, height=48).iterdir())
    assert [photo.path for photo in look_at(paths, threads=3)] == paths
    some = look_at([*paths[:2], *[tmp_path / "missing.jpg"] * 1000], threads=1)
    assert next(some).path == paths[0]
    some.close()


def test_limits_hold_on_many_threads(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(forged_png(10_000, 10_000))  # Pillow itself only warns of this one
    write_picture(tmp_path / "fine.png", scene(0, 64, 48))
    photos = list(look_at([tmp_path / "bomb.png", tmp_path / "fine.png"] * 50, threads=8))
    assert all("claims more than" in str(photo.problem) for photo in photos[::2])
    assert all(photo.problem is None for photo in photos[1::2])
    assert tuple(read_header(tmp_path / "bomb.png")) == ("PNG", 10_000, 10_000)


def test_a_grey_photo_in_colour_format(tmp_path: Path) -> None:
    grey = np.repeat(scene(3)[..., :1], 3, axis=2)
    write_picture(tmp_path / "grey.jpg", grey, quality=60)
    tinted = np.asarray(grey * [1.0, 0.9, 0.75], dtype=np.uint8)
    write_picture(tmp_path / "sepia.jpg", tinted)
    assert [look(tmp_path / name).grey for name in ("grey.jpg", "sepia.jpg")] == [True, False]
    assert read_picture(tmp_path / "grey.jpg").shape == (240, 320, 3)


# As a user runs it.


def test_ctrl_c_prints_what_was_seen(tmp_path: Path) -> None:
    first = tmp_path / "in" / "00000.png"
    first.parent.mkdir()
    write_picture(first, scene(0, 800, 600))
    for number in range(1, 2000):  # takes much longer than it may here
        os.link(first, tmp_path / "in" / f"{number:05}.png")
    code = (
        "import sys, allaprima.train.survey as survey; from allaprima.cli import main; look = survey.look\n"
        "survey.look = lambda path: (open('started', 'w').close(), look(path))[1]\n"
        "sys.exit(main(['photos', 'in']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (tmp_path / "started").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "allaprima: stopped\n")
    seen = int(output.split("in: ")[1].split()[0])
    assert 1 <= seen < 2000
    assert f"in: {seen} picture files of 2,000" in output
    assert "too few" in output


@pytest.mark.skipif(not isolated.is_supported(), reason="seccomp is of Linux on x86-64 and ARM64")
def test_without_torch_and_without_a_connection(tmp_path: Path) -> None:
    fill(tmp_path / "in", 3)
    code = (
        "import sys; from allaprima.cli import main; assert main(['photos', 'in']) == 0\n"
        "print('torch' in sys.modules, flush=True)\n"
        "from allaprima.train.coco import fetch_photos; from pathlib import Path\n"
        "fetch_photos(Path('coco'))"  # dies as it opens a socket
    )
    words = [sys.executable, str(ROOT / "tests" / "isolated.py"), code]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "3 different photos that a training uses" in " ".join(done.stdout.split())
    assert done.stdout.endswith("False\n")
    assert done.returncode == -signal.SIGSYS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "photo folder 'nowhere' does not exist: give a folder"),
        (["file.jpg"], "photo folder 'file.jpg' does not exist: give a folder"),
        (["void"], "photo folder 'void' has no JPEG, PNG or WebP: give a folder"),
        ([], "give either a folder of photos or --coco DIR"),
        (["void", "--coco", "new"], "give either a folder of photos or --coco DIR"),
        (["void", "--size", "0"], "--size: got 0, expected 1 or more"),
        (["void", "--url", "http://localhost/"], "--url and --sha256 are for --coco"),
        (["--coco", "new", "--json"], "--json is for a folder of photos"),
        (["--coco", "new", "--sha256", "abc"], "--sha256: got 'abc', expected 64 digits"),
        (["--coco", "new", "--url", "file:///etc/passwd"], "address 'file:///etc/passwd' cannot be used"),
        (["--coco", "new", "--url", "http://"], "address 'http://' cannot be used"),
        (["--coco", "new", "--url", "http://[1"], "address 'http://[1' cannot be used"),
        (["--coco", "new", "--url", "http://a b/"], "address 'http://a b/' cannot be used"),
        (["--coco", "no/new"], "cannot write 'no/new'"),
        (["--coco", "file.jpg"], "'file.jpg' is a file: give another folder"),
    ],
)
def test_bad_words(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.jpg").touch()
    (tmp_path / "void").mkdir()
    assert main(["photos", *words]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("allaprima: ")
    assert errors.count("\n") == 1
    assert message in errors
