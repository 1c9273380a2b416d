"""Tokenizers rebuilt from GGUF files: the real Qwen vocabulary, sentencepiece's BPE, and how words are split."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import gguf
import pytest
import tokenizers
from gguf import GGMLQuantizationType as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backends import Library
from model.errors import ModelError
from model.tokenizer import Tokenizer
from model.weights.gguf import convert
from model.weights.gguf_tokenizer import Vocabulary, tokenizer_json
from tests.model.gguf_files import weights, write_gguf
from tests.model.test_tokenizer import PUBLISHED

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

# --- the real Qwen vocabulary ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def qwen_backends(
    qwen_content: dict, qwen_backend: tokenizers.Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tokenizers.Tokenizer, tokenizers.Tokenizer]:
    """The original tokenizer and the one rebuilt from a GGUF file that holds its vocabulary."""
    added, model = qwen_content["added_tokens"], qwen_content["model"]

    def vocabulary(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list([*model["vocab"], *(token["content"] for token in added)])
        writer.add_token_types([1] * len(model["vocab"]) + [3 if token["special"] else 4 for token in added])
        writer.add_token_merges([" ".join(pair) for pair in model["merges"]])

    folder = tmp_path_factory.mktemp("qwen-gguf")
    tensors = weights("qwen2", size=32, inner=32)
    tensors["token_embd.weight"] = tensors["token_embd.weight"][:1].repeat(151_936, 0)
    path = write_gguf(
        folder / "qwen.gguf",
        "qwen2",
        kind=Kind.Q8_0,
        embedding=Kind.Q8_0,
        size=32,
        inner=32,
        tensors=tensors,
        vocabulary=vocabulary,
    )
    made = convert(path, folder / "c", lambda done, total: None)
    return qwen_backend, tokenizers.Tokenizer.from_file(str(made / "tokenizer.json"))


@pytest.mark.parametrize(("text", "ids"), PUBLISHED)
def test_a_rebuilt_qwen_tokenizer_gives_the_published_ids(qwen_backends: tuple, text: str, ids: list[int]) -> None:
    assert qwen_backends[1].encode(text).ids == ids


@settings(max_examples=150)
@given(
    st.lists(
        st.one_of(ANY_TEXT, st.sampled_from(["<|im_start|>", "<tool_call>", " ", "\n\n", "I'M", "123", "e\u0301"]))
    ).map("".join)
)
def test_and_the_same_ids_as_the_original_for_any_text(qwen_backends: tuple, text: str) -> None:
    original, rebuilt = qwen_backends
    ids = original.encode(text).ids
    assert rebuilt.encode(text).ids == ids
    assert rebuilt.decode(ids) == original.decode(ids)


# --- sentencepiece --------------------------------------------------------------------------------------------------

ALPHABET = "▁abcdeé"
WORDS = {"▁a": -1, "ab": -2, "▁ab": -3, "cd": -4, "bc": -4.5, "abc": -5, "▁abc": -6, "▁▁": -7, "de": -8, "cde": -9}
CONTROL, UNKNOWN, BYTE, USER = 3, 2, 6, 4


def sentencepiece(**changes: object) -> Vocabulary:
    """A vocabulary like Llama 2's, with ten words."""
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *byte_pieces, "[INST]", *WORDS, *ALPHABET]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, USER, *[1] * (len(WORDS) + len(ALPHABET))]
    scores = [0.0] * 260 + [float(score) for score in WORDS.values()] + [-100.0 - n for n in range(len(ALPHABET))]
    fields = {"kind": "llama", "splitting": "default", "tokens": tokens, "types": types, "merges": []}
    return Vocabulary(**fields | {"scores": scores, "add_space": True} | changes)


def rebuilt(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(tokenizer_json(Path("m.gguf"), vocabulary))


def as_sentencepiece_does(text: str, vocabulary: Vocabulary) -> list[int]:
    """Its own way: of all neighbours that make a piece, merge those that make the best, the leftmost of equals."""
    ids = {token: id for id, token in enumerate(vocabulary.tokens)}
    parts = list("▁" + text.replace(" ", "▁")) if text else []
    while True:
        pairs = [(left + right, n) for n, (left, right) in enumerate(pairwise(parts))]
        merges = [(vocabulary.scores[ids[piece]], -n) for piece, n in pairs if piece in ids]
        if not merges:
            break
        n = -max(merges)[1]
        parts[n : n + 2] = [parts[n] + parts[n + 1]]
    found = []
    for part in parts:
        found += [ids[part]] if part in ids else [3 + byte for byte in part.encode()]
    return found


@settings(max_examples=200)
@given(st.text(st.sampled_from("abcde  éx你😀\n"), max_size=20))
def test_merges_from_scores_come_to_what_sentencepiece_does(text: str) -> None:
    vocabulary = sentencepiece()
    backend = rebuilt(vocabulary)
    ids = backend.encode(text).ids
    assert ids == as_sentencepiece_does(text, vocabulary)
    assert backend.decode(ids) == text


def test_control_tokens_and_bytes_are_what_their_types_say() -> None:
    tokenizer = Tokenizer(Library(rebuilt(sentencepiece())))
    ids = tokenizer.encode("<s>[INST]abc</s>")
    assert (ids[0], ids[1], ids[-1]) == (1, 259, 2)
    assert tokenizer.decode(ids) == "[INST] abc" and tokenizer.decode(ids[2:-1]) == "abc"
    assert not {1, 2, 259} & set(tokenizer.encode_plain("<s>[INST]abc</s>"))
    pieces = tokenizer.detokenizer()
    assert "".join(pieces.add(id) for id in tokenizer.encode("abc 😀 x")) + pieces.flush() == "abc 😀 x"


def test_a_space_is_put_first_only_where_the_file_says_so() -> None:
    ids = rebuilt(sentencepiece(add_space=False)).encode("ab").ids
    assert ids == [rebuilt(sentencepiece()).token_to_id("ab")]
    assert rebuilt(sentencepiece(add_space=False)).decode(rebuilt(sentencepiece()).encode("ab").ids) == " ab"


def test_a_whole_file_with_such_a_vocabulary_is_converted(tmp_path: Path) -> None:
    words = sentencepiece()

    def vocabulary(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(words.tokens)
        writer.add_token_scores(words.scores)
        writer.add_token_types(words.types)
        writer.add_bos_token_id(1)
        writer.add_unk_token_id(0)

    tensors = weights("llama")
    tensors["token_embd.weight"] = tensors["token_embd.weight"].repeat(40, 0)
    path = write_gguf(tmp_path / "m.gguf", tensors=tensors, vocabulary=vocabulary)
    tokenizer = Tokenizer.from_folder(convert(path, tmp_path / "c", lambda done, total: None))
    assert tokenizer.encode("abc de") == as_sentencepiece_does("abc de", words)
    assert (tokenizer.bos_id, tokenizer.unk_id) == (1, 0)


# --- how words are split --------------------------------------------------------------------------------------------


def bytes_vocabulary(splitting: str, **changes: object) -> Vocabulary:
    """Every printable ASCII character and what stands for space and newline, and some words."""
    tokens = [*(chr(code) for code in range(33, 127)), "Ġ", "Ċ", "12", "123", "ab", "Ġa", "AB", "Hi", "hello"]
    merges = ["1 2", "12 3", "a b", "Ġ a", "A B", "H i"]
    fields = {"kind": "gpt2", "splitting": splitting, "tokens": tokens, "types": [], "merges": merges}
    return Vocabulary(**fields | {"scores": [], "add_space": False} | changes)


@pytest.mark.parametrize(
    ("splitting", "text", "pieces"),
    [
        ("qwen2", "1234", ["1", "2", "3", "4"]),
        ("smollm", "1234", ["1", "2", "3", "4"]),
        ("tekken", "1234", ["1", "2", "3", "4"]),
        ("gpt-2", "1234", ["123", "4"]),
        ("llama-bpe", "1234", ["123", "4"]),
        ("llama-bpe", "12123", ["12", "1", "2", "3"]),
        ("gpt-2", "12123", ["12", "123"]),
        ("llama-bpe", "hello", ["hello"]),  # a word that is a token stays whole, though nothing merges to it
        ("tekken", "hello", ["hello"]),
        ("qwen2", "hello", ["h", "e", "l", "l", "o"]),
        ("qwen2", "abAB", ["ab", "AB"]),
        ("tekken", "aAB", ["a", "AB"]),
        ("tekken", "HiHi", ["Hi", "Hi"]),
        ("qwen2", " a\n", ["Ġa", "Ċ"]),
        ("llama3", "a/\n", ["a", "/", "Ċ"]),
    ],
)
def test_words_are_split_as_each_model_does(splitting: str, text: str, pieces: list[str]) -> None:
    assert rebuilt(bytes_vocabulary(splitting)).encode(text).tokens == pieces


@pytest.mark.parametrize(
    ("splitting", "text", "words"),
    [
        ("tekken", "helloWorld HTTPServer", ["hello", "World", " HTTPServer"]),
        ("qwen2", "helloWorld 12", ["helloWorld", " ", "1", "2"]),
        ("llama-bpe", "I'LL 12345", ["I", "'LL", " ", "123", "45"]),
        ("gpt-2", "I'LL 12345", ["I", "'", "LL", " 12345"]),
        ("tekken", "I'll  x", ["I", "'ll", " ", " x"]),
    ],
)
def test_and_nothing_is_merged_across_words(splitting: str, text: str, words: list[str]) -> None:
    split = rebuilt(bytes_vocabulary(splitting)).pre_tokenizer.pre_tokenize_str(text)
    assert [text[start:end] for _, (start, end) in split] == words


# --- what bad vocabularies get --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "changes", "sentence", "kind"),
    [
        (bytes_vocabulary, {"kind": "rwkv"}, "a rwkv vocabulary", "unsupported"),
        (bytes_vocabulary, {"splitting": "chatglm-bpe"}, "text split as chatglm-bpe", "unsupported"),
        (bytes_vocabulary, {"tokens": ["a", "a"]}, "a token twice", "checkpoint"),
        (bytes_vocabulary, {"tokens": []}, "is empty", "checkpoint"),
        (bytes_vocabulary, {"types": [1]}, "103 tokens and types for 1", "checkpoint"),
        (bytes_vocabulary, {"merges": ["a b c"]}, "a merge of no two", "checkpoint"),
        (sentencepiece, {"scores": []}, "without scores", "checkpoint"),
        (sentencepiece, {"scores": [1.0]}, "scores for 1", "checkpoint"),
        (
            sentencepiece,
            {"tokens": ["x" * 5_000_000], "types": [1], "scores": [0.0]},
            "its tokens are too long",
            "checkpoint",
        ),
    ],
)
def test_a_bad_vocabulary_is_named(
    make: Callable[..., Vocabulary], changes: dict[str, object], sentence: str, kind: str
) -> None:
    fields = changes if make is sentencepiece else {"splitting": "qwen2"} | changes
    with pytest.raises(ModelError, match=sentence) as caught:
        tokenizer_json(Path("m.gguf"), make(**fields))
    assert caught.value.kind == kind and str(caught.value).startswith("m.gguf has ")
