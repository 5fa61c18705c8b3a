"""The card of a style file, to ONNX metadata and back."""

import pytest

from allaprima.contract import CONTRACT, StyleCard


def test_there_and_back() -> None:
    card = StyleCard(
        name="négatif",
        title='"quoted"\n',
        io="tensor",
        network={"build": "realtime", "channels": [8, 16]},
        figures={"J": 1.25},
    )
    metadata = card.to_metadata()
    assert set(map(type, metadata.values())) == {str}
    assert metadata["allaprima.contract"] == f'"{CONTRACT}"'
    assert StyleCard.from_metadata(metadata) == card


def test_others_have_none() -> None:
    assert StyleCard.from_metadata({}) is None
    assert StyleCard.from_metadata({"author": "someone"}) is None


def test_what_a_file_leaves_out_has_its_default() -> None:
    assert StyleCard.from_metadata({"allaprima.contract": f'"{CONTRACT}"', "allaprima.new": "1"}) == StyleCard()


@pytest.mark.parametrize("text", ["1", "[]", "null", "not json", ""])
def test_an_entry_of_another_type(text: str) -> None:
    with pytest.raises(ValueError, match=r"allaprima\.name|Expecting value"):
        StyleCard.from_metadata({"allaprima.contract": f'"{CONTRACT}"', "allaprima.name": text})
