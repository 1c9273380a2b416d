"""Text as tokens, from any tokenizer there is, without a model."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.inspecting.vocabulary import controls, open_tokenizer, spell, spell_word, split_words
from model.tokenizer import Tokenizer
from model.tokenizer_files import WORLD
from tests.model.gguf_files import write_gguf
from tests.model.pth_files import publish


@pytest.fixture(scope="module")
def tokenizer(speaking) -> Tokenizer:
    return open_tokenizer(speaking, "speaking")


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_the_tokens_of_a_text_spell_it_and_none_of_them_steers(tokenizer: Tokenizer, text: str) -> None:
    pieces = spell(tokenizer, text)
    assert b"".join(piece.spelling for piece in pieces) == text.encode()
    assert tokenizer.controls.keys().isdisjoint(piece.id for piece in pieces)


def test_a_pth_file_has_the_one_of_those_beside_it_that_its_shape_asks_for(tmp_path: Path, speaking: Path) -> None:
    path = publish(tmp_path / "RWKV-4-Pile-0M-ctx256.PTH")
    path.with_name(WORLD).write_text("1 'of another model' 16\n")
    found = open_tokenizer(path, "pile")
    assert found.encode_plain("Hello") == open_tokenizer(speaking, "speaking").encode_plain("Hello")
    path.with_name("20B_tokenizer.json").unlink()
    with pytest.raises(QuietlyError, match=r"put 20B_tokenizer\.json"):
        open_tokenizer(path, "pile")


def test_a_control_token_that_is_typed_is_only_its_letters(tokenizer: Tokenizer) -> None:
    assert len(spell(tokenizer, "<|im_end|>")) == 10


def test_those_that_steer_say_what_they_are_used_for(tokenizer: Tokenizer) -> None:
    assert [(one.id, one.name, one.roles) for one in controls(tokenizer)] == [
        (256, "<|im_start|>", ()),
        (257, "<|im_end|>", ("eos", "ends an answer")),
    ]


def test_a_word_is_taken_as_it_stands_in_a_sentence_unless_it_is_shorter_alone(tokenizer: Tokenizer, starter) -> None:
    assert [piece.spelling for piece in spell_word(open_tokenizer(starter, "starter"), " king")] == [b" king"]
    assert b"".join(piece.spelling for piece in spell_word(tokenizer, " king ")) == b"king"  # a space is a token more


def test_words_are_told_apart_by_commas() -> None:
    assert split_words(" king,queen , ,bread and butter,") == ("king", "queen", "bread and butter")


def test_one_is_opened_by_folder_by_file_and_from_gguf(speaking, tmp_path) -> None:
    beside = open_tokenizer(speaking / "tokenizer.json", "speaking")
    assert beside.size == open_tokenizer(speaking, "speaking").size == 258
    path = write_gguf(tmp_path / "tiny.gguf").rename(tmp_path / "sha256-0123")  # as Ollama calls them
    assert open_tokenizer(path, "tiny").size == 8
    for name in ("..", "x" * 300, "组" * 120, "a/b"):  # which no folder can have
        assert open_tokenizer(path, name).size == 8


def test_where_there_is_none_there_is_a_sentence(tmp_path) -> None:
    (tmp_path / "file").write_text("no model")
    for path in (tmp_path, tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(QuietlyError, match=r"x has no tokenizer\.json|is no GGUF file|does not exist"):
            open_tokenizer(path, "x")
