"""What is said of tokens and of the rows that stand for them."""

import pytest

from app.engine.protocol import EmbeddingsFound, OneHot
from app.inspecting.rows import measure, one_hot_words, pairs, piece_bytes, piece_name
from app.inspecting.told import laid


@pytest.mark.parametrize(
    ("text", "count", "said"),
    [
        ("", 0, "0 tokens"),
        ("a", 1, "1 token in 1 character: 1.00 a character"),
        ("東京" * 1000, 1500, "1,500 tokens in 2,000 characters: 0.75 a character"),
    ],
)
def test_a_text_is_measured_in_tokens(text: str, count: int, said: str) -> None:
    assert measure(text, count) == said


def test_long_tokens_are_cut_and_one_without_a_text_has_a_sign() -> None:
    assert (piece_name(b"-" * 60, 8), piece_name(b"")) == ("-------…", "∅")
    assert piece_bytes(b"ab" * 9) == "61 62 61 62 61 62 61 62 61 62 61 62…"


def test_every_two_words_are_a_pair_the_nearest_first() -> None:
    cosines = [[1, 0.1, 0.3], [0.1, 1, 0.2], [0.3, 0.2, 1]]
    assert [tuple(pair) for pair in pairs(["a", "b", "c"], cosines)] == [
        ("a", "c", 0.3),
        ("b", "c", 0.2),
        ("a", "b", 0.1),
    ]


@pytest.mark.parametrize(
    ("difference", "said"), [(0.0, "is the row that is looked up."), (0.00021, "is looked up by 0.0002 at most.")]
)
def test_a_product_that_a_device_rounds_is_not_called_the_row(difference: float, said: str) -> None:
    one_hot = OneHot(difference, 1024, 65_536, 32)
    found = EmbeddingsFound(1, 256, 64, 8192, "4 bit in groups of 64", (), (), (), one_hot)
    lines = [line.text for line in laid(one_hot_words(found, one_hot), 80)]
    assert lines[0].endswith(said)
    assert lines[2].split() == ["one-hot", "1.0", "KiB", "64.0", "KiB", "16,384"]
    assert lines[3].split() == ["looked", "up", "4", "B", "32", "B", "0"]
