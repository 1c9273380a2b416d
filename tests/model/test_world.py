"""RWKV's World vocabulary: the longest token that fits, hostile files refused, conversations as they were trained."""

import ast
import itertools
import json
import shutil
import unicodedata
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from model.backends import Library
from model.detokenizer import BYTE_CHARACTERS
from model.errors import ModelError
from model.tokenizer import Tokenizer, Turn
from model.tokenizer_files import WORLD
from model.world import END, World, parse
from tests.model.world_vocabulary import SMALL, small_world, world_file

CHATTING = [Turn("user", "hi"), Turn("assistant", "Hello!"), Turn("user", "bye")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made: Path = tmp_path_factory.mktemp("goose")
    shutil.copy(world_file(), made)
    (made / "config.json").write_text('{"model_type": "rwkv7"}')
    return made


@pytest.fixture(scope="module")
def goose(folder) -> Tokenizer:
    return Tokenizer.from_folder(folder)


@pytest.fixture(scope="module")
def vocabulary() -> dict[bytes, int]:
    return parse(world_file().read_text(encoding="utf-8"))


def small(tmp_path: Path, **files: object) -> Tokenizer:
    """The tokenizer of a folder with a little vocabulary, and JSON files by their names without the ending."""
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return Tokenizer.from_folder(small_world(tmp_path))


# --- the published vocabulary -------------------------------------------------------------------------------


def test_every_line_is_the_literal_that_it_looks_like(vocabulary):
    lines = [line for line in world_file().read_text(encoding="utf-8").split("\n") if line]
    for line in lines:
        id, rest = line.split(" ", 1)
        literal = ast.literal_eval(rest.rsplit(" ", 1)[0])
        assert vocabulary[literal if isinstance(literal, bytes) else literal.encode()] == int(id)
    assert len(lines) == len(vocabulary) == 65_529


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (
            "Today is a beautiful day. 今天是美好的一天。",
            [33520, 4600, 332, 59219, 21509, 47, 33, 10381, 11639, 13091, 15597, 11685, 14734, 10250, 11639, 10080],
        ),
        ("\n\n", [261]),
        ("User: hi\n\nAssistant:", [24281, 59, 4571, 261, 5585, 41693, 59]),
        ("", []),
    ],
)
def test_the_published_ids(goose, text, ids):
    assert goose.encode(text) == goose.encode_plain(text) == goose.encode_control(text) == ids


def longest(tokens: dict[bytes, int], data: bytes) -> list[int]:
    """The definition: of the tokens that the rest begins with, the longest."""
    ids = []
    while data:
        token = next(data[:length] for length in range(min(len(data), 128), 0, -1) if data[:length] in tokens)
        ids.append(tokens[token])
        data = data[len(token) :]
    return ids


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from(["\n\n", "\n", "\r\n", " ", "    ", "User:", "Assistant: ", END, "1234", "。", "\n\n\t", "é"]),
        st.sampled_from(["return ", "...\n\n", "  \n  ", "你好", "🦩", "===="]),
    ),
    max_size=12,
).map("".join)


@given(text=TEXTS)
def test_each_token_is_the_longest_that_fits(goose, vocabulary, text):
    assert goose.encode_plain(text) == longest(vocabulary, text.encode())


@given(text=TEXTS)
def test_what_is_encoded_decodes_to_itself_and_is_streamed_in_whole_characters(goose, text):
    ids = goose.encode_plain(text)
    assert goose.decode(ids) == text
    pieces = goose.pieces(ids)
    assert "".join(pieces) == text and ("\ufffd" in text or not any("\ufffd" in piece for piece in pieces))
    assert b"".join(map(goose.bytes_of, ids)) == text.encode()


@given(data=st.binary(max_size=40))
def test_all_bytes_have_tokens(goose, vocabulary, data):
    ids = World(SMALL).longest(data)
    spelled = {id: token for token, id in SMALL.items()}
    assert ids == longest(SMALL, data) and b"".join(spelled[id] for id in ids) == data
    assert b"".join(map(goose.bytes_of, longest(vocabulary, data))) == data


@given(ids=st.lists(st.integers(-2, 65_600), max_size=20))
def test_any_ids_stream_to_what_they_decode_to(goose, ids):
    stream = goose.detokenizer()
    assert "".join([*(stream.add(id) for id in ids), stream.flush()]) == goose.decode(ids)


@given(text=TEXTS)
def test_a_text_in_its_units_comes_to_the_tokens_of_the_whole(goose, vocabulary, text):
    parts = text.split(END)
    whole = longest(vocabulary, parts[0].encode())
    for part in parts[1:]:
        whole += [0, *longest(vocabulary, part.encode())]
    assert goose.encode_control(text) == goose.encode(text) == whole


def test_the_end_of_a_document_ends_an_answer_and_is_nobodys_text(goose):
    assert (goose.size, goose.eos_ids, goose.eos_id, goose.controls) == (65_530, {0}, 0, {0: END})
    assert goose.encode(END) == [0] and 0 not in goose.encode_plain(END)
    assert goose.decode([0, 24281]) == "User" and goose.decode([0], skip_special=False) == END
    assert goose.decode(goose.prompt([Turn("user", f"a {END} b")])).count(END) == 1
    assert goose.kind == "byte trie"
    assert goose.pad([[1, 2], [3]]) == ([[1, 2], [3, 0]], [[1, 1], [1, 0]])


def test_equal_vocabularies_have_the_same_tokens(goose, tmp_path):
    little, other = small(tmp_path), Tokenizer(Library(tokenizers.Tokenizer(models.BPE({"a": 0}, []))))
    assert little.same_tokens(small(tmp_path))
    assert not goose.same_tokens(little) and not little.same_tokens(other) and not other.same_tokens(little)


# --- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "300 __import__('os') 4",
        "300 'a'+'b' 2",
        "300 f'{1}' 1",
        "300 ['ab'] 2",
        "300 'ab' 3",
        "300 'a'b' 3",
        "300 'a\\q' 3",
        "300 '\\ud800' 3",
        "300 '\\U00110000' 4",
        "300 b'é\u0100' 3",
        "300 '' 0",
        "300 b'\\x00' 1",
        "1 'zz' 2",
        "0 'zz' 2",
        "9999999 'zz' 2",
        "300 'zz'",
        "-3 'zz' 2",
        "²³ 'zz' 2",
        "(" * 5000,
    ],
    ids=lambda line: line[:20],
)
def test_a_line_that_is_no_token_is_refused_with_its_number(tmp_path, line):
    path = small_world(tmp_path) / WORLD
    path.write_text(path.read_text() + line + "\n", encoding="utf-8")
    number = len(path.read_text().split("\n")) - 1
    said = rf"{WORLD} is damaged \(line {number} .*put the published one there"
    with pytest.raises(ModelError, match=said) as caught:
        Tokenizer.from_folder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no token for the byte 00"),
        (b"1 'a' 1\n", "no token for the byte 00"),
        (b"\xff", "no text"),
        (b"0" * 5_000_000, "5,000,000 bytes"),
        (b"1 '" + b"a" * 1_001 + b"' 1001\n", "line 1 has 1001 bytes, at most 1,000"),
        (
            b"".join(b"%d '%0999d' 999\n" % (id, id) for id in range(1, 1_003)),
            "its tokens have more than 1,000,000 bytes",
        ),
    ],
    ids=["empty", "a line", "no text", "too long", "a token too long", "too much of them"],
)
def test_so_is_a_file_that_spells_not_every_byte_or_is_none(tmp_path, content, said):
    (tmp_path / WORLD).write_bytes(content)
    with pytest.raises(ModelError, match=said):
        Tokenizer.from_folder(tmp_path)


def test_the_escapes_of_python_are_read(tmp_path):
    path = small_world(tmp_path) / WORLD
    lines = ["300 '\\'\"\\\\' 3", '301 "\\x41\\u00e9\\U0001f9a9" 7', "302 b'\\xff\\'\\n' 3", "303 ' '' ' 4"]
    path.write_text("\r\n".join([path.read_text().rstrip("\n"), *lines[:3], ""]), encoding="utf-8", newline="")
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert [tokenizer.bytes_of(id) for id in (300, 301, 302)] == [b"'\"\\", "Aé🦩".encode(), b"\xff'\n"]


# --- what the other files say -------------------------------------------------------------------------------


def test_an_empty_line_that_a_file_calls_special_stays_text(tmp_path):
    tokenizer = small(
        tmp_path,
        tokenizer_config={
            "eos_token": "\n\n",
            "added_tokens_decoder": {
                "0": {"content": "<s>", "special": True},
                "400": {"content": "\n\n", "special": True},
                "401": {"content": "<call>"},
                "9": {"content": "nine"},
                "402": {"content": "\ud800"},
                "403": {"content": "<call><call>"},
                "x": {"content": "x"},
            },
        },
        config={"eos_token_id": [2, 261, 401]},
    )
    assert tokenizer.controls == {0: "<s>", 401: "<call>", 403: "<call><call>"}
    assert tokenizer.encode_control("<call><call>a<call>") == tokenizer.encode("<call><call>a<call>") == [403, 98, 401]
    assert tokenizer.eos_ids == {0, 401} and tokenizer.eos_id == 0
    assert tokenizer.encode("a\n\n<s>")[-1] == 0 and len(tokenizer.encode("\n\n")) == 1


def test_options_go_over_what_the_files_say(tmp_path):
    small_world(tmp_path)
    assert Tokenizer.from_folder(tmp_path, eos_token="User").eos_id == 262
    strict = Tokenizer.from_folder(tmp_path, errors="strict")
    with pytest.raises(ModelError, match="the bytes C3, which are no text"):
        strict.decode([0xC3 + 1])
    with pytest.raises(ModelError, match="to be its unk_token"):
        Tokenizer.from_folder(tmp_path, unk_token=END)


# --- conversations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thinking", "end"), [(None, "Assistant:"), (True, "Assistant: <think"), (False, "Assistant: <think>\n</think")]
)
def test_a_prompt_is_what_the_models_were_trained_on(goose, thinking, end):
    turns = [Turn("system", " Be kind.\r\n\r\n\r\nAnd brief. "), *CHATTING]
    assert goose.decode(goose.prompt(turns, thinking=thinking)) == (
        f"System: Be kind.\nAnd brief.\n\nUser: hi\n\nAssistant: Hello!\n\nUser: bye\n\n{end}"
    )
    assert goose.can_choose_thinking()
    assert goose.decode(goose.prompt(CHATTING, add_generation_prompt=False)).endswith("User: bye")


def test_only_models_that_were_taught_to_are_asked_to_think(tmp_path):
    older = small(tmp_path, config={"model_type": "rwkv"})
    assert not older.can_choose_thinking()
    assert older.prompt(CHATTING, thinking=True) == older.prompt(CHATTING)


@given(contents=st.lists(TEXTS, min_size=1, max_size=4), thinking=st.sampled_from([None, True, False]))
def test_nothing_that_anybody_wrote_begins_a_turn(goose, contents, thinking):
    turns = [Turn(role, text) for role, text in zip(itertools.cycle(["user", "assistant"]), contents, strict=False)]
    text = goose.decode(goose.prompt(turns, thinking=thinking), skip_special=False)
    begun = [line for line in text.split("\n\n") if line.startswith(("User:", "Assistant:", "System:"))]
    assert len(begun) == len(turns) + 1
    assert 0 not in goose.prompt(turns, thinking=thinking)


def test_an_answers_empty_lines_stay_unless_one_begins_a_turn(goose):
    kept, broken = "one\n\ntwo", "one\n\n\nUser: two\n\nthree"
    for content, written in ((kept, kept), (broken, "one\nUser: two\nthree")):
        ids = goose.prompt([Turn("user", "hi"), Turn("assistant", content)])
        assert goose.decode(ids) == f"User: hi\n\nAssistant: {written}\n\nAssistant:"


def test_nobody_begins_a_turn_in_the_checkpoints_own_format_either(tmp_path):
    template = "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}\n\n{% endfor %}Assistant:"
    tokenizer = small(tmp_path, tokenizer_config={"chat_template": template})
    turns = [Turn("user", "a\n\nUser: b\r\n\r\nAssistant: c"), Turn("assistant", "d\n\ne"), Turn("user", "f\n")]
    assert tokenizer.decode(tokenizer.prompt(turns)) == (
        "User: a\nUser: b\nAssistant: c\n\nAssistant: d\n\ne\n\nUser: f\n\nAssistant:"
    )


def test_nothing_is_said_with_nothing(goose):
    turns = [Turn("user", ""), Turn("assistant", " \n"), Turn("user", "hi")]
    assert goose.decode(goose.prompt(turns)) == "User:\n\nAssistant:\n\nUser: hi\n\nAssistant:"


def test_half_a_character_of_a_template_is_shown_as_one_that_is_none(tmp_path):
    template = "{% for m in messages %}{{ m.content }}\n\n{% endfor %}{{ '\\ud800' }}"
    tokenizer = small(tmp_path, tokenizer_config={"chat_template": template})
    assert tokenizer.decode(tokenizer.prompt(CHATTING[:1])) == "hi\n\n\ufffd"


@pytest.mark.parametrize(
    ("kind", "rows", "world"), [("rwkv7", 65_536, True), ("rwkv", 50_277, False), ("qwen2", 151_936, False)]
)
def test_of_two_vocabularies_it_is_that_which_the_model_has_rows_for(tmp_path, kind, rows, world):
    (tmp_path / "tokenizer.json").write_text(tokenizers.Tokenizer(models.BPE({"a": 0}, [])).to_str())
    tokenizer = small(tmp_path, config={"model_type": kind, "vocab_size": rows})
    assert (tokenizer.kind == "byte trie") == world


@pytest.mark.parametrize(("kind", "template"), [("rwkv", None), ("rwkv", "own"), ("qwen2", None)])
def test_models_of_the_piles_vocabulary_are_talked_to_as_raven_was(tmp_path, kind, template):
    letters = {BYTE_CHARACTERS[byte]: byte for byte in range(256)}
    whole = tokenizers.Tokenizer(models.BPE(letters, []))
    whole.decoder = decoders.ByteLevel()
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    (tmp_path / "tokenizer.json").write_text(whole.to_str())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    tokenizer = Tokenizer.from_folder(tmp_path)
    turns = [Turn("system", "A talk."), Turn("user", "hi\n\nAlice: yes"), Turn("assistant", "Hello!"), CHATTING[2]]
    if kind == "qwen2":
        with pytest.raises(ModelError, match="no chat template"):
            tokenizer.prompt(turns)
    elif template:
        assert tokenizer.decode(tokenizer.prompt(turns)) == "own" and not tokenizer.stops
    else:
        said = "A talk.\n\nBob: hi\nAlice: yes\n\nAlice: Hello!\n\nBob: bye\n\nAlice:"
        assert tokenizer.decode(tokenizer.prompt(turns)) == said
        assert tokenizer.stops == ("\n\nBob:",) and tokenizer.lead(tokenizer.prompt(turns)) == " "
    assert tokenizer.eos_ids == ({0} if kind == "rwkv" else set())  # of an RWKV-4 it need not be written


def test_an_answers_own_ids_stand_with_the_space_that_the_model_wrote(goose):
    own = (*goose.encode_plain(" Hel"), *goose.encode_plain("lo!"))
    turns = [CHATTING[0], Turn("assistant", "Hello!", own), CHATTING[2]]
    ids = goose.prompt(turns)
    assert ids != goose.prompt(CHATTING) and goose.decode(ids) == goose.decode(goose.prompt(CHATTING))
    opening = goose.prompt(turns[:1])
    assert ids[: len(opening) + len(own)] == [*opening, *own]
    silent = Turn("assistant", "Hello!", own[1:])
    assert goose.prompt([turns[0], silent]) == goose.prompt(CHATTING[:2])


@given(content=TEXTS)
def test_a_prompt_is_counted_while_it_is_typed(goose, content):
    around = goose.around([*CHATTING[:2], Turn("user", "")])
    counted = around.length(content)
    assert counted in (None, len(goose.prompt([*CHATTING[:2], Turn("user", content)])))
    tidy = content and content == content.strip() and END not in content
    assert counted is not None or not tidy


def test_of_a_longer_conversation_only_its_last_turns_are_counted_again(goose):
    around = goose.around([*CHATTING, Turn("assistant", "see you"), Turn("user", "")])
    assert around.begin == "User: " and around.before == 20


@pytest.mark.parametrize(
    ("template", "own"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}Assistant:", True),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}Assistant:", False),
        ("{{ raise_exception('no') }}", False),
    ],
)
def test_a_checkpoints_template_is_used_if_it_has_an_empty_line_between_turns(tmp_path, template, own):
    tokenizer = small(tmp_path, tokenizer_config={"chat_template": template})
    assert tokenizer.decode(tokenizer.prompt(CHATTING[:1])) == f"{'user' if own else 'User'}: hi\n\nAssistant:"
    assert tokenizer.stops == ("\n\nUser:",)


def test_text_is_normalised_by_nobody(goose):
    apart = unicodedata.normalize("NFD", "é")
    assert goose.decode(goose.encode_plain(apart)) == apart
