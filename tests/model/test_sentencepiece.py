"""A vocabulary as sentencepiece stores it becomes the tokenizer it was: by its rules, and with openPangu's words."""

import contextlib
import json
import struct
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import ModelError
from model.generation import TextFlow
from model.tokenizer import Tokenizer, Turn
from tests.checkpoints import TINY_QWEN2

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
STEERING = ("[unused9]", "[unused10]", "[unused16]", "[unused17]")
WORDS = ("th", "the", "▁th", "▁the", "he", "er", "ther", "▁a", "an", "▁an", "nd", "and", "▁and")
TEMPLATE = (
    "{% set names = {'system': '系统', 'user': '用户', 'assistant': '助手'} %}"
    "{% if messages[0].role != 'system' %}[unused9]系统：[unused10]{% endif %}"
    "{% for message in messages %}[unused9]{{ names[message.role] }}：{{ message.content }}[unused10]{% endfor %}"
    "{% if add_generation_prompt %}[unused9]助手：{% endif %}"
)


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | float | bytes) -> bytes:
    """One field of a protocol buffer."""
    match value:
        case int():
            return varint(number << 3) + varint(value)
        case float():
            return varint(number << 3 | 5) + struct.pack("<f", value)
        case bytes():
            return varint(number << 3 | 2) + varint(len(value)) + value


def stored(
    pieces: Iterable[tuple[str, float, int]],
    algorithm: int | bytes = 2,
    trained: bytes = b"",
    **normalizer: int | bytes,
) -> bytes:
    """What sentencepiece would store; of the normaliser, its fields by number; `trained`: more of the trainer's."""
    listed = [
        field(1, field(1, token.encode()) + field(2, score) + (field(3, kind) if kind != NORMAL else b""))
        for token, score, kind in pieces
    ]
    rules = b"".join(field(int(number.removeprefix("field_")), value) for number, value in normalizer.items())
    return (
        b"".join(listed)
        + field(2, field(3, algorithm) + field(35, 1) + trained)
        + field(3, field(1, b"identity") + rules)
    )


def vocabulary() -> list[tuple[str, float, int]]:
    """Controls, the words of the conversation's format as openPangu has them, bytes, merged words, letters."""
    pieces = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    pieces += [(word, 0.0, NORMAL) for word in STEERING]
    pieces += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    pieces += [(word, -1.0 - index, NORMAL) for index, word in enumerate(WORDS)]
    return pieces + [(letter, -100.0 - index, NORMAL) for index, letter in enumerate("▁thearnd系统用户助手：")]


IDS = {token: id for id, (token, _, _) in enumerate(vocabulary())}


def written(folder: Path, model: bytes) -> Path:
    """A folder with this file, and what openPangu's tokenizer_config.json says."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    named = {str(IDS[token]): {"content": token, "special": True} for token in ("<unk>", "<s>", "</s>", *STEERING)}
    told = {"tokenizer_class": "PanguTokenizer", "added_tokens_decoder": named, "eos_token": "[unused10]"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": TEMPLATE}))
    (folder / "config.json").write_text(json.dumps({**TINY_QWEN2, "model_type": "PanguEmbedded"}))
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_folder(written(tmp_path_factory.mktemp("sentencepiece"), stored(vocabulary(), field_4=0)))


def by_merging(text: str) -> list[int]:
    """sentencepiece's way, word for word: again and again the neighbours that make the piece of the best score."""
    scores = {token: score for token, score, kind in vocabulary() if kind == NORMAL and token not in STEERING}
    parts = list("▁" + text.replace(" ", "▁"))
    while True:
        pairs = enumerate(map("".join, pairwise(parts)))
        ways = [(scores[pair], -at) for at, pair in pairs if pair in scores]
        if not ways:
            break
        at = -max(ways)[1]
        parts[at : at + 2] = ["".join(parts[at : at + 2])]
    return [
        id
        for part in parts
        for id in ([IDS[part]] if part in scores else [IDS[f"<0x{byte:02X}>"] for byte in part.encode()])
    ]


@given(st.text(st.sampled_from("theand x界"), min_size=1, max_size=24))
def test_a_text_has_the_tokens_that_sentencepiece_gives_it(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == by_merging(text)
    assert tokenizer.decode(ids) == text


def test_a_conversation_has_openpangus_format(tokenizer: Tokenizer) -> None:
    ids = tokenizer.prompt([Turn("user", "the [unused10] end")])
    names = [tokenizer.controls.get(id) for id in ids]
    assert [name for name in names if name] == ["[unused9]", "[unused10]", "[unused9]", "[unused10]", "[unused9]"]
    said = tokenizer.decode(ids)
    assert said.replace(" ", "") == "系统：用户：the[unused10]end助手：", "typed words steer nothing"
    assert tokenizer.eos_ids == {IDS["[unused10]"]}


def test_its_reasoning_is_told_from_its_answer(tokenizer: Tokenizer) -> None:
    flow = TextFlow(tokenizer)
    tokens = [IDS["[unused16]"], *tokenizer.encode("and then"), IDS["[unused17]"], *tokenizer.encode("the end")]
    told = {"reasoning": "", "answer": ""}
    for piece in [piece for token in tokens for piece in flow.add(token)] + [*flow.flush()]:
        told[piece.part] += piece.text
    assert {part: text.strip() for part, text in told.items()} == {"reasoning": "and then", "answer": "the end"}


def test_spaces_are_left_as_they_are_only_where_the_file_says_so(tmp_path: Path, tokenizer: Tokenizer) -> None:
    trimmed = Tokenizer.from_folder(written(tmp_path / "trimmed", stored(vocabulary())))
    assert trimmed.encode("  the   and ") == tokenizer.encode("the and")
    assert tokenizer.decode(tokenizer.encode("  the   and ")) == "  the   and "
    # Spaces alone, and those alone that the whole text begins and ends with.
    assert trimmed.decode(trimmed.encode(" \n\nthe \n and\n ")) == "\n\nthe \n and\n"


def test_what_is_no_such_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not byte-pair encoding"):
        Tokenizer.from_folder(written(tmp_path / "unigram", stored(vocabulary(), algorithm=1)))
    with pytest.raises(ModelError, match="with ▁ before words"):
        Tokenizer.from_folder(written(tmp_path / "suffixed", stored(vocabulary(), trained=field(24, 1))))
    for wrong in (
        stored(vocabulary(), algorithm=b"BPE"),
        *(stored(vocabulary(), **{f"field_{number}": value}) for number, value in ((2, 1), (3, b"yes"), (4, b"yes"))),
    ):
        with pytest.raises(ModelError, match="is damaged"):
            Tokenizer.from_folder(written(tmp_path / "wrong", wrong))
    whole = stored(vocabulary()[:5])
    for end in range(1, len(whole), 3):
        folder = written(tmp_path / "cut", whole[:end])
        with contextlib.suppress(ModelError):  # some cuts leave a whole vocabulary, if a smaller one
            assert Tokenizer.from_folder(folder).size <= 5
    rules = stored(vocabulary(), field_2=b"no such rules")
    for hostile in (b"\xff" * 40, field(1, 7), field(1, b"\xff"), b"\x0b", field(1, field(1, b"\xff\xfe")), rules):
        with pytest.raises(ModelError, match=r"tokenizer\.model"):
            Tokenizer.from_folder(written(tmp_path / "hostile", hostile))
