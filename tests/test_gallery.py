"""The styles that ship: names, the list, the cards and the contact sheet."""

from pathlib import Path

import numpy as np
import pytest
import tiny
from conftest import RunCli

from allaprima import gallery
from allaprima.cli import main
from allaprima.commands.styles import _tile
from allaprima.contract import StyleCard
from allaprima.errors import InputError
from allaprima.gallery import find_style, shipped_styles
from allaprima.infer.stylefile import read_card
from allaprima.pictures import read_picture, write_picture


@pytest.fixture
def styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A styles folder of two, with thumbnails and one model card, in place of the package's own."""
    folder = tmp_path / "styles"
    folder.mkdir()
    tiny.frame_style(
        folder / "wave.onnx",
        name="wave",
        title="The Great Wave",
        artist="Katsushika Hokusai",
        year="1831",
        network={"build": "realtime"},
        figures={"J": 1.234},
    )
    tiny.frame_style(folder / "odd.onnx", name="odd", title="[/red] \x1b[31m", artist="[bold]")
    (folder / "wave.md").write_text("# The Great Wave\n\nTrained on photographs.\n")
    for name, grey in (("wave", 90), ("odd", 200)):
        write_picture(folder / f"{name}.jpg", np.full((120, 160, 3), grey, np.uint8))
    monkeypatch.setattr(gallery, "STYLES_FOLDER", folder)
    return folder


def test_names_and_paths(styles: Path, tmp_path: Path) -> None:
    assert shipped_styles() == {"odd": styles / "odd.onnx", "wave": styles / "wave.onnx"}
    assert find_style("wave") == styles / "wave.onnx"
    mine = tiny.frame_style(tmp_path / "mine.onnx")
    assert find_style(str(mine)) == find_style(mine) == mine
    with pytest.raises(InputError, match=r"no style is called 'wafe': choose one of odd, wave, or give a .onnx file"):
        find_style("wafe")
    with pytest.raises(InputError, match=r"style file 'wafe.onnx' does not exist: check the path"):
        find_style("wafe.onnx")


def test_the_list(styles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["styles"]) == 0
    heading, odd, wave = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "painting", "artist", "year", "build", "kB", "J"]
    assert "[/red] ?[31m" in odd  # neither markup nor control codes of a file act
    assert " ".join(wave.split()) == "wave The Great Wave Katsushika Hokusai 1831 realtime 0 1.23"


def test_one_card(styles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["styles", "wave"]) == 0
    printed = capsys.readouterr().out
    for text in ("Trained on photographs.", "allaprima/1", '{"build": "realtime"}', '{"J": 1.234}'):
        assert text in printed
    assert all(line == line.rstrip() for line in printed.splitlines())  # however long the longest is
    assert main(["styles", "odd"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_contact_sheet(styles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["styles", "--contact-sheet", str(tmp_path / "sheet.png")]) == 0
    sheet = read_picture(tmp_path / "sheet.png")
    assert sheet.shape == (16 + 240 + 60 + 16, 16 + 2 * (320 + 16), 3)
    left, right, caption = sheet[16:256, 16:336], sheet[16:256, 352:672], sheet[256:316, 352:672]
    assert abs(int(left.mean()) - 200) <= 2
    assert abs(int(right.mean()) - 90) <= 2
    assert caption.min() < 60  # letters


@pytest.mark.parametrize(("accented", "plain"), [("Café Ångström", "Cafe Angstrom"), ("鳥", "?")])
def test_captions_have_letters_that_the_font_has(accented: str, plain: str) -> None:
    photo = np.zeros((240, 320, 3), np.uint8)
    drawn, expected = (_tile(photo, "style", StyleCard(title=title)) for title in (accented, plain))
    assert drawn.tobytes() == expected.tobytes()


def test_no_styles(styles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in styles.iterdir():
        path.unlink()
    assert main(["styles"]) == 0
    assert "no styles ship with this copy; to make one: allaprima train" in capsys.readouterr().out
    assert main(["styles", "wave"]) == 2
    assert capsys.readouterr().err.startswith("allaprima: no style is called 'wave': none ships with this copy, give")
    assert main(["styles", "--contact-sheet", str(tmp_path / "sheet.png")]) == 2
    assert capsys.readouterr().err.startswith("allaprima: no style with a thumbnail ships")
    assert not (tmp_path / "sheet.png").exists()


def test_at_least_ten_small_styles_ship() -> None:
    sizes = [path.stat().st_size for path in shipped_styles().values()]
    assert len(sizes) >= 10
    assert max(sizes) < 1_500_000


def test_what_really_ships_is_one_network_and_has_a_card(run_cli: RunCli) -> None:
    result = run_cli("styles")
    assert (result.returncode, result.stderr) == (0, "")
    for name, path in shipped_styles().items():
        card = read_card(path)
        assert card is not None
        assert card.name == name
        assert card.network == {"build": "realtime", "parameters": 574172, "precision": "int8"}  # as fast as the others
        assert name in result.stdout
        assert path.with_suffix(".md").is_file()
        assert path.with_suffix(".jpg").is_file()


def test_another_projects_file(shared: Path, run_cli: RunCli) -> None:
    result = run_cli("styles", shared / "peers" / "narrow8-mosaic.onnx")
    assert (result.returncode, result.stderr) == (0, "")
    assert "a network from another project" in result.stdout
