"""`allaprima image` as a user runs it: a process of its own, its files, its exit code and its one line on stderr."""

import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from conftest import ROOT, RunCli
from PIL import Image

from allaprima.commands.image import plan
from allaprima.errors import InputError
from allaprima.pictures import Frame, read_picture, write_picture


def photo(path: Path, value: int = 100, size: tuple[int, int] = (40, 30)) -> Path:
    """A plain grey photo; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


@pytest.fixture
def negative(tmp_path: Path) -> Path:
    return tiny.frame_style(tmp_path / "negative.onnx", name="negative")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


# Painting.


def test_one_photo(negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    result = run_cli("image", photo(tmp_path / "a.png"), "--style", negative, "-o", tmp_path / "b.png")
    assert (result.returncode, result.stderr) == (0, "")
    assert "b.png painted with negative on cpu in" in result.stdout
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png"), np.full((30, 40, 3), 155, np.uint8))


def test_folders_patterns_and_equal_names(negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    photos = tmp_path / "in"
    for name in ("a.jpg", "a.png", "sub/a.webp", "sub/deep/b.PNG", ".hidden.png", "sub/.trash/c.png"):
        photo(photos / name)
    (photos / "notes.txt").write_text("no photo")
    photo(tmp_path / "other" / "a.png", 0)
    words = "in", "other/*.png", "in/a.jpg"
    result = run_cli("image", *words, "--style", negative, "-o", "out", "--format", "png", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert set(tree(tmp_path / "out")) == {
        "a.png", "a-2.png", "a-3.png", "sub", "sub/a.png", "sub/deep", "sub/deep/b.png",
    }  # fmt: skip
    assert (read_picture(tmp_path / "out" / "a-3.png") == 255).all()
    assert "5 of 5 photos painted" in result.stdout
    again = run_cli("image", *words, "--style", negative, "-o", "in/out/", cwd=tmp_path)
    twice = run_cli("image", *words, "--style", negative, "-o", "in/out/", cwd=tmp_path)  # its own paintings stay out
    assert (again.returncode, twice.returncode) == (0, 0)
    assert "5 of 5 photos painted" in twice.stdout
    assert set(tree(photos / "out")) == {"a.jpg", "a.png", "a-2.png", "sub", "sub/a.webp", "sub/deep", "sub/deep/b.PNG"}


def test_size_limits_the_longest_side(negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    photo(tmp_path / "in" / "large.png", size=(300, 200))
    photo(tmp_path / "in" / "small.png", size=(50, 40))
    result = run_cli("image", tmp_path / "in", "--style", negative, "-o", tmp_path / "out", "--size", 120)
    assert result.returncode == 0
    assert read_picture(tmp_path / "out" / "large.png").shape == (80, 120, 3)
    assert read_picture(tmp_path / "out" / "small.png").shape == (40, 50, 3)


def test_a_turned_photo_is_painted_upright(negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    assert run_cli("image", tmp_path / "a.jpg", "--style", negative, "-o", tmp_path / "b.jpg").returncode == 0
    with Image.open(tmp_path / "b.jpg") as painted:
        assert painted.size == (40, 60)
        assert 0x0112 not in painted.getexif()


@pytest.mark.parametrize("peer", ["narrow8-mosaic", "reference-mosaic"])
def test_peers_paint_a_photo(peer: str, shared: Path, tmp_path: Path, run_cli: RunCli) -> None:
    source = shared / "photos" / "val" / "v0003.jpg"
    result = run_cli(
        "image", source, "--style", shared / "peers" / f"{peer}.onnx", "-o", tmp_path / "b.webp", "--size", 201
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert max(read_picture(tmp_path / "b.webp").shape) == 201


def test_a_missing_gpu_is_one_loud_line(negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    words = "image", photo(tmp_path / "a.png"), "--style", negative, "-o", tmp_path / "b.png", "--provider", "tensorrt"
    result = run_cli(*words)
    assert result.returncode == 0
    [line] = result.stderr.splitlines()
    assert line.startswith("allaprima: warning: provider 'tensorrt' did not load, running on 'c")


def test_a_batch_goes_on_past_bad_photos(negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    for index in range(3):
        photo(tmp_path / "in" / f"{index}.png")
    (tmp_path / "in" / "1b.png").write_bytes(b"no picture")
    photo(tmp_path / "in" / "1c.png", size=(1, 1))
    result = run_cli("image", tmp_path / "in", "--style", negative, "-o", tmp_path / "out")
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("allaprima: 2 of 5 photos skipped: photo '")
    assert "1b.png' is not a JPEG, PNG or WebP picture" in line
    assert "1c.png' is 1x1 px" in line
    assert set(tree(tmp_path / "out")) == {"0.png", "1.png", "2.png"}


def test_ctrl_c_keeps_what_is_done(negative: Path, tmp_path: Path) -> None:
    first = photo(tmp_path / "in" / "000.png", size=(1600, 1200))  # large: painting all 200 takes many seconds
    for index in range(1, 200):
        os.link(first, tmp_path / "in" / f"{index:03}.png")
    words = [sys.executable, "-m", "allaprima", "image", "in", "--style", str(negative), "-o", "out"]
    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:
        while not (tmp_path / "out" / "001.png").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.decode() == "allaprima: stopped\n"
    done = sorted((tmp_path / "out").iterdir())
    assert 1 < len(done) < 200
    assert f"{len(done)} of 200 photos painted" in output.decode()
    for path in done:  # whole, and no temporary file among them
        assert read_picture(path).shape == (1200, 1600, 3)


def test_a_bar_on_a_terminal(negative: Path, tmp_path: Path) -> None:
    for index in range(3):
        photo(tmp_path / "in" / f"{index}.png")
    main_end, process_end = pty.openpty()
    words = [sys.executable, "-m", "allaprima", "image", "in", "--style", str(negative), "-o", "out"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run(words, cwd=tmp_path, env=env, stdout=process_end, stderr=process_end, check=True)
    os.close(process_end)
    shown = os.read(main_end, 100_000).decode()
    os.close(main_end)
    assert "painting" in shown
    assert "3/3" in shown


# Bad input: exit code 2, one line that names the value and the remedy, nothing written.


def forged_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims `width` x `height`."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def truncated_jpeg(path: Path) -> None:
    frame: Frame = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    write_picture(path, frame)
    path.write_bytes(path.read_bytes()[:3000])


BAD_PHOTOS: dict[str, tuple[Callable[[Path], object] | None, str]] = {
    "missing.jpg": (None, "does not exist: check the path"),
    "truncated.jpg": (truncated_jpeg, "cannot be read (.*truncated.*): it may be damaged, use another copy"),
    "text.png": (lambda path: path.write_text("hello"), "is not a JPEG, PNG or WebP picture: convert it first"),
    "empty.png": (lambda path: path.touch(), "is not a JPEG, PNG or WebP picture: convert it first"),
    "vector.svg": (lambda path: path.write_text("<svg/>"), "is not a JPEG, PNG or WebP picture: convert it first"),
    "dot.png": (lambda path: photo(path, size=(1, 1)), "is 1x1 px: expected at least 16x16, choose a larger one"),
    "bomb.png": (lambda path: path.write_bytes(forged_png(10_000, 10_000)), "claims more than .* scale it down first"),
    "vast.png": (lambda path: path.write_bytes(forged_png(60_000, 60_000)), "claims more than .* scale it down first"),
}


def assert_refused(result: "subprocess.CompletedProcess[str]", pattern: str) -> None:
    assert result.returncode == 2, result
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert re.fullmatch(f"allaprima: .*{pattern}.*", line), line


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_photo(name: str, negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    make, remedy = BAD_PHOTOS[name]
    if make is not None:
        make(tmp_path / name)
    before = tree(tmp_path)
    result = run_cli("image", name, "--style", negative, "-o", "out/", cwd=tmp_path)
    assert_refused(result, f"photo '{name}' {remedy.replace('(.*', r'[(].*').replace('.*)', '.*[)]')}")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a network", "bad.onnx' is not an ONNX file: give a .onnx style file"),
        (b"", "bad.onnx' is empty: copy or export it again"),
        (None, "bad.onnx' is cut short or damaged .*: copy or export it again"),
        ("allaprima/99", "bad.onnx' follows contract 'allaprima/99', .*: update allaprima or export the style again"),
    ],
    ids=["not onnx", "empty", "truncated", "contract"],
)
def test_bad_style(content: bytes | str | None, message: str, negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    bad = tmp_path / "bad.onnx"
    if isinstance(content, str):
        tiny.frame_style(bad, contract=content)
    else:
        bad.write_bytes(negative.read_bytes()[:200] if content is None else content)
    photo(tmp_path / "a.png")
    before = tree(tmp_path)
    assert_refused(run_cli("image", "a.png", "--style", "bad.onnx", "-o", "out/", cwd=tmp_path), message)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png", "-o", "none/b.png"], "output folder 'none' does not exist: create it"),
        (["a.png", "-o", "none/out/"], "output folder 'none' does not exist: create it"),
        (["a.png", "-o", "file/b.png"], "output folder 'file' does not exist: create it"),
        (["a.png", "c.png", "-o", "file"], "output 'file' is a file: give a folder"),
        (["a.png", "-o", "/proc/b.png"], "cannot write '/proc/b.png' .*: choose a place you may write to"),
        (["a.png", "-o", "/proc/out/"], "cannot write '/proc/out' .*: choose a place you may write to"),
        (["a.png", "-o", "b.gif"], "output 'b.gif' ends in '.gif': expected .png, .jpg or .webp"),
        (["a.png", "c.png", "-o", "b.png"], "output 'b.png' is one file for 2 photos: give a folder"),
        (["a.png", "-o", "a.png"], "output 'a.png' would overwrite a photo: choose another place"),
        (["a.png", "c.png", "-o", "."], "output 'a.png' would overwrite a photo: choose another place"),
        (["a.png", "-o", "b.png", "--format", "jpg"], "--format jpg is for an output folder: leave it out"),
        (["a.png", "-o", "b.png", "--size", "8"], "--size: got 8, expected 16 or more"),
        (["wide.png", "-o", "b.png", "--size", "100"], "would be 100x8 px at --size 100: choose a larger --size"),
        (["void", "-o", "out"], "no JPEG, PNG or WebP picture in 'void': give photos"),
        (["*.jpg", "-o", "out"], r"no JPEG, PNG or WebP picture in '[*].jpg': give photos"),
        (["-o", "out"], "PHOTOS is missing"),
        (["a.png", "-o", "b.png", "--provider", "gpu"], "provider 'gpu' is unknown: choose one of auto, cuda"),
        (["a.png", "-o", "b.png", "--threads", "0"], "threads: got 0, expected 1 or more"),
        (["a.png", "-o", "b.png", "--input-range", "1"], "has a fixed input range: leave out --input-range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_words(words: list[str], message: str, negative: Path, tmp_path: Path, run_cli: RunCli) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "c.png")
    photo(tmp_path / "wide.png", size=(400, 32))
    (tmp_path / "file").touch()
    (tmp_path / "void").mkdir()
    before = tree(tmp_path)
    assert_refused(run_cli("image", *words, "--style", negative, cwd=tmp_path), message)
    assert tree(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_too_large_for_the_memory(shared: Path, tmp_path: Path) -> None:
    photo(tmp_path / "large.png", size=(6000, 4000))
    peer = shared / "peers" / "reference-mosaic.onnx"
    words = [sys.executable, "-m", "allaprima", "image", "large.png", "--style", str(peer), "-o", "out.png"]
    result = subprocess.run(
        words,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(
        result, "not enough memory for 'reference-mosaic.onnx' to paint 6000x4000 px: choose a smaller --size"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["large.png"]


# The plan.


def test_sub_folders_stay_and_no_two_share_a_place(tmp_path: Path) -> None:
    names = ["x/a.jpg", "x/a.png", "x/A.JPG", "y/a.jpg", "x/sub/a.jpg"]
    photos = [photo(tmp_path / name) for name in names]
    jobs = plan([str(tmp_path / "x"), str(tmp_path / "y")], str(tmp_path / "out"), format_="webp")
    targets = [str(job.target.relative_to(tmp_path / "out")) for job in jobs]
    assert {job.photo for job in jobs} == set(photos)
    assert len({target.casefold() for target in targets}) == len(names)
    assert "sub/a.webp" in targets


def test_the_same_photo_twice_is_painted_once(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    words = [str(path), str(tmp_path / "*.png"), str(tmp_path / "." / "a.png")]
    assert len(plan(words, str(tmp_path / "out.jpg"))) == 1


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    path = photo(tmp_path / "a[1].png")
    assert [job.photo for job in plan([str(path)], str(tmp_path / "b.png"))] == [path]
    with pytest.raises(InputError, match=r"no JPEG, PNG or WebP picture in '.*a\[2\].png'"):
        plan([str(tmp_path / "a[2].png")], str(tmp_path / "b.png"))
