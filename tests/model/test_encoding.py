"""A prompt that is encoded in remembered units comes to the very tokens of one that is encoded whole."""

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from model.backends import Library
from model.encoding import Encoder

WORDS = [
    "<s>",
    "</s>",
    "<|im_end|>",
    "<",
    "|im",
    "_end|>",
    "s>",
    "user",
    "\n",
    " ",
    "a b",
    "é",
    "▁",
    "<think>",
    "end|>x",
]
texts = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=12).map("".join)


def pieces(scheme: str) -> tokenizers.Tokenizer:
    """A vocabulary that writes spaces as its own sign, as models of the Llama family do, with tokens of every kind."""
    vocabulary = {piece: index for index, piece in enumerate(["<unk>", "▁", *"abcdenorstuim|<>_/é", "▁a", "us", "er"])}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, [("▁", "a"), ("u", "s"), ("e", "r")], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace()
    backend.normalizer = normalizers.NFKC()
    backend.add_special_tokens(
        [
            AddedToken("<s>", normalized=False),
            AddedToken("</s>", normalized=False, rstrip=True),
            AddedToken("<|im_end|>", normalized=False, lstrip=True),
            AddedToken("<think>", normalized=True),
            AddedToken("end|>x", normalized=False, single_word=True),
        ]
    )
    return backend


BACKENDS = {scheme: pieces(scheme) for scheme in ("first", "always", "never")}


@pytest.fixture(scope="module", params=[*BACKENDS, "qwen"])
def backend(request) -> Library:
    return Library(request.getfixturevalue("qwen_backend") if request.param == "qwen" else BACKENDS[request.param])


@given(text=texts)
def test_units_come_to_the_tokens_of_the_whole(backend, text):
    encode = Encoder(backend)
    whole = backend.encode(text)
    assert encode(text) == whole
    assert encode(text) == whole, "the same when it is remembered"


class Counting(Library):
    """A backend that counts what it is asked for."""

    def __init__(self, whole: tokenizers.Tokenizer) -> None:
        super().__init__(whole)
        self.asked: list[str] = []

    def encode(self, text, added="all"):
        self.asked.append(text)
        return super().encode(text, added)


def test_of_a_longer_conversation_only_what_is_new_is_encoded():
    backend = Counting(BACKENDS["first"])
    encode = Encoder(backend)
    encode("<s>user a<s>end")
    backend.asked.clear()
    encode("<s>user a<s>end<s>user b")
    assert backend.asked == ["<s>user b"]


def test_only_so_much_is_remembered():
    backend = Counting(BACKENDS["first"])
    encode = Encoder(backend, characters=30)
    for text in ("a" * 20, "b" * 9, "c" * 20, "d" * 31, "b" * 9, "c" * 20, "d" * 31):
        encode(text)
    assert [text[0] for text in backend.asked] == list("abcdd")
