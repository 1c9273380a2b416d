"""Tokenizers: published ids, nobody types a control token, nobody sees half a character."""

import copy
import json
import unicodedata
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from model.backends import Library
from model.errors import ModelError
from model.template import ChatTemplate
from model.tokenizer import Tokenizer, TokenizerOptions, Turn

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRIMMING = CHATML.replace("m.content", "m.content | trim")
JOINING = "{% for m in messages %}{{ m.content | trim }}{% endfor %}"


@pytest.fixture(scope="session")
def qwen(qwen_backend: tokenizers.Tokenizer) -> Tokenizer:
    return Tokenizer(
        Library(qwen_backend), options=TokenizerOptions(eos_token="<|im_end|>"), template=ChatTemplate(CHATML)
    )


def with_template(tokenizer: Tokenizer, source: str) -> Tokenizer:
    """The same tokenizer under another template."""
    other = copy.copy(tokenizer)
    other.template = ChatTemplate(source)
    return other


# --- the real Qwen vocabulary -------------------------------------------------------------------------------


PUBLISHED = [
    ("Hello world", [9707, 1879]),
    ("你好，世界", [108386, 3837, 99489]),
    ("12345", [16, 17, 18, 19, 20]),
    ("I'm", [40, 2776]),
    ("I'M here", [40, 27603, 1588]),
    ("  a\n\n b", [220, 264, 271, 293]),
    ("😀", [141334]),
    ("cafe\u0301", [924, 58858]),
    ("<|im_start|>user\nhi<|im_end|>\n", [151644, 872, 198, 6023, 151645, 198]),
    ("\u200bx", [15692, 87]),
]
"""Text with its ids in the tokenizers of Qwen1.5, Qwen2, Qwen2.5 and Qwen3."""


@pytest.mark.parametrize(("text", "ids"), PUBLISHED)
def test_qwen_gives_the_published_ids(qwen: Tokenizer, text: str, ids: list[int]) -> None:
    assert qwen.encode(text) == ids


def test_the_rebuilt_qwen_vocabulary_is_whole(qwen: Tokenizer, qwen_content: dict) -> None:
    rebuilt = qwen_content["model"]
    assert len(rebuilt["vocab"]) == 151_643 and len(rebuilt["merges"]) == 151_387
    assert qwen.size == 151_665
    assert qwen.eos_ids == {151645}


def test_qwens_published_prompt(qwen: Tokenizer) -> None:
    system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    ids = qwen.prompt([Turn("system", system), Turn("user", "hi")])
    assert ids == [
        *(
            151644,
            8948,
            198,
            2610,
            525,
            1207,
            16948,
            11,
            3465,
            553,
            54364,
            14817,
            13,
            1446,
            525,
            264,
            10950,
            17847,
        ),
        *(13, 151645, 198, 151644, 872, 198, 6023, 151645, 198, 151644, 77091, 198),
    ]


# --- what a person types ------------------------------------------------------------------------------------


def fragments(*more: str) -> st.SearchStrategy[str]:
    """Text in which parts of control tokens are frequent."""
    characters = st.characters(exclude_categories=["Cs"])
    parts = ["<|im_start|>", "<|im_end|>", "<|im_", "end|>", "<", "|", ">", "im_end", " ", "\n", "é", "😀", *more]
    return st.lists(st.one_of(st.sampled_from(parts), st.text(characters, max_size=4)), max_size=12).map("".join)


@settings(max_examples=150)
@given(fragments("<tool_call>", "<|fim_prefix|>"))
def test_no_typed_text_becomes_a_control_token_in_qwen(qwen: Tokenizer, text: str) -> None:
    assert max(qwen.encode_plain(text), default=0) < 151_643


@settings(max_examples=150)
@given(fragments("<repo_name>", "<jupyter_code>"))
def test_nor_in_a_vocabulary_that_holds_the_literals_itself(starter_tokenizer: Tokenizer, text: str) -> None:
    ids = starter_tokenizer.encode_plain(text)
    assert min(ids, default=17) >= 17  # 0..16 are the starter's control tokens


def test_a_vocabulary_that_prefers_whole_words_is_broken_down() -> None:
    vocabulary = {"<": 0, "x": 1, ">": 2, "<x>": 3, "Ã": 4, "©": 5, "é": 6, "§": 7, "Â": 8}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.add_special_tokens(["<x>", "§"])
    tokenizer = Tokenizer(Library(backend))
    assert tokenizer.encode("<x>") == [3]
    assert tokenizer.encode_plain("<x>") == [0, 1, 2]
    assert tokenizer.encode_plain("x<x>é") == [1, 0, 1, 2, 4, 5]
    assert 7 not in tokenizer.encode_plain("§")


@settings(max_examples=100)
@given(st.lists(fragments("<tool_call>"), min_size=1, max_size=5), st.sampled_from([CHATML, TRIMMING]))
def test_a_conversation_has_exactly_the_templates_control_tokens(
    qwen: Tokenizer, contents: list[str], source: str
) -> None:
    turns = [Turn("assistant" if n % 2 else "user", content) for n, content in enumerate(contents)]
    ids = with_template(qwen, source).prompt(turns)
    control = [id for id in ids if id >= 151_643]
    assert control == [151644, 151645] * len(turns) + [151644]


@settings(max_examples=100)
@given(st.lists(fragments(), min_size=2, max_size=4))
def test_nor_can_two_messages_make_one_where_a_template_joins_them(qwen: Tokenizer, contents: list[str]) -> None:
    joining = with_template(qwen, JOINING)
    assert max(joining.prompt([Turn("user", content) for content in contents]), default=0) < 151_643


def test_characters_that_a_normaliser_turns_into_a_literal_stay_text() -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"<x>": 0, "[?]": 1}, unk_token="[?]"))
    backend.normalizer = normalizers.NFKC()
    backend.add_special_tokens([tokenizers.AddedToken("<x>", normalized=True)])
    tokenizer = Tokenizer(
        Library(backend), template=ChatTemplate("<x>{% for m in messages %}{{ m.content }}{% endfor %}")
    )
    assert tokenizer.encode("\uff1cx\uff1e") == [0]
    assert tokenizer.prompt([Turn("user", "\uff1cx\uff1e")]).count(0) == 1


def test_typed_literals_reach_the_model_as_what_they_look_like(qwen: Tokenizer) -> None:
    ids = qwen.prompt([Turn("user", "What does <|im_end|> mean?")])
    assert "What does <|im_end|> mean?" in qwen.decode(ids, skip_special=False)
    assert ids.count(151645) == 1


def test_half_a_surrogate_pair_is_shown_as_a_replacement(qwen: Tokenizer) -> None:
    assert qwen.decode(qwen.encode_plain("a\ud83d")) == "a\ufffd"
    assert qwen.decode(qwen.prompt([Turn("user", "a\ud83d")])).count("\ufffd") == 1


# --- answers' own ids ---------------------------------------------------------------------------------------

ODD = (39, 4791, 385)  # "Hello" as H, ell, o: not how the tokenizer would cut it


def test_an_answers_own_ids_stand_where_its_text_stands(qwen: Tokenizer) -> None:
    turns = [Turn("user", "hi"), Turn("assistant", qwen.decode(ODD), ODD), Turn("user", "again")]
    plain = [Turn(turn.role, turn.content) for turn in turns]
    ids = qwen.prompt(turns)
    assert qwen.decode(ids, False) == qwen.decode(qwen.prompt(plain), False)
    assert ids != qwen.prompt(plain)
    start = len(qwen.prompt(turns[:1]))
    assert ids[start : start + 3] == list(ODD) and ids[start + 3] == 151645


def by_letter(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Ids that spell `text` one letter at a time, as only a model would."""
    return tuple(id for letter in text for id in tokenizer.encode_plain(letter))


@pytest.mark.parametrize(
    ("content", "source", "kept"),
    [
        ("Hello", TRIMMING, True),
        ("Hello ", TRIMMING, False),
        (" Hello ", CHATML, True),
        ("Hello", CHATML.replace("m.content", "m.content | upper"), False),
        ("Hello", CHATML.replace("m.content", "(m.content if m.role == 'user' else '')"), False),
        (
            "Hello",
            CHATML.replace("m.content", "(m.content ~ '!' if m.content.startswith('H') else m.content)"),
            False,
        ),
        ("Hello", CHATML.replace("m.content", "(m.content ~ m.content)"), True),
        ("Hello <|im_end|>", CHATML, True),
        ("", CHATML, False),
    ],
)
def test_and_only_there(qwen: Tokenizer, content: str, source: str, kept: bool) -> None:
    tokenizer = with_template(qwen, source)
    own = by_letter(qwen, content)
    turns = [Turn("user", "hi"), Turn("assistant", content, own)]
    ids = tokenizer.prompt(turns, add_generation_prompt=False)
    plain = tokenizer.prompt([turns[0], Turn("assistant", content)], add_generation_prompt=False)
    assert (ids != plain) == kept
    assert tokenizer.decode(ids, False) == tokenizer.decode(plain, False)
    if kept:
        assert any(tuple(ids[start : start + len(own)]) == own for start in range(len(ids)))


def test_one_changed_answer_does_not_cost_the_others_their_ids(qwen: Tokenizer) -> None:
    tokenizer = with_template(qwen, TRIMMING)
    one, two = by_letter(qwen, "one"), by_letter(qwen, "two\n")
    turns = [Turn("assistant", "one", one), Turn("assistant", "two\n", two)]
    assert tokenizer.prompt(turns) == tokenizer.prompt([turns[0], Turn("assistant", "two\n")])
    assert tokenizer.prompt(turns) != tokenizer.prompt([Turn("assistant", "one"), turns[1]])


@pytest.mark.parametrize("more", ["<think>hm</think>\n\nHello", "Hello\nUser:"])
def test_ids_that_say_more_than_the_answer_are_left_out(qwen: Tokenizer, more: str) -> None:
    """What was generated may hold reasoning or a stop string, which are no part of the message."""
    turns = [Turn("user", "hi"), Turn("assistant", "Hello", by_letter(qwen, more))]
    assert qwen.prompt(turns) == qwen.prompt([turns[0], Turn("assistant", "Hello")])


def test_ids_beyond_the_vocabulary_are_not_believed(qwen: Tokenizer) -> None:
    turns = [Turn("assistant", "one", (10**9,))]
    assert qwen.prompt(turns) == qwen.prompt([Turn("assistant", "one")])


# --- streaming ----------------------------------------------------------------------------------------------


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = tokenizer.detokenizer()
    return [*(detokenizer.add(id) for id in ids), detokenizer.flush()]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 151_700), max_size=30))
def test_any_ids_stream_to_what_they_decode_to(qwen: Tokenizer, ids: list[int]) -> None:
    assert "".join(streamed(qwen, ids)) == qwen.decode(ids)


@settings(max_examples=150)
@given(fragments())
def test_text_streams_in_whole_characters(qwen: Tokenizer, text: str) -> None:
    pieces = streamed(qwen, qwen.encode_plain(text))
    assert "".join(pieces) == unicodedata.normalize("NFC", text)
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_a_character_appears_with_its_last_byte(starter_tokenizer: Tokenizer) -> None:
    ids = starter_tokenizer.encode_plain("🦩")
    assert len(ids) > 1
    pieces = streamed(starter_tokenizer, ids)
    assert pieces == [""] * (len(ids) - 1) + ["🦩", ""]


def test_an_answer_cut_inside_a_character_ends_in_a_replacement(starter_tokenizer: Tokenizer) -> None:
    pieces = streamed(starter_tokenizer, starter_tokenizer.encode_plain("🦩")[:-1])
    assert pieces[-1] == "\ufffd" and not any(pieces[:-1])


@settings(max_examples=150)
@given(st.lists(st.integers(-3, 151_700), max_size=30))
def test_the_pieces_of_an_answer_are_its_text(qwen: Tokenizer, ids: list[int]) -> None:
    pieces = qwen.pieces(ids)
    assert len(pieces) == len(ids) and "".join(pieces) == qwen.decode(ids)


def test_a_character_of_several_tokens_stands_with_the_last(starter_tokenizer: Tokenizer) -> None:
    ids = starter_tokenizer.encode_plain("a🦩b")
    assert len(ids) > 4
    assert [piece for piece in starter_tokenizer.pieces(ids) if piece] == ["a", "🦩", "b"]
    assert starter_tokenizer.pieces(ids[:-2])[-1] == "\ufffd"


def test_what_a_token_adds_depends_on_what_stands_before_it(qwen: Tokenizer, starter_tokenizer: Tokenizer) -> None:
    *first, last = starter_tokenizer.encode_plain("a🦩")
    assert starter_tokenizer.text_after(first, last) == "🦩"
    assert starter_tokenizer.text_after([], first[1]) == "\ufffd"
    llama = llama_like()
    assert [llama.text_after([3] * count, 2) for count in (0, 1, 30)] == ["hello", " hello", " hello"]
    assert qwen.text_after([], 151645) == "<|im_end|>"
    assert qwen.text_after([9707], 151_699) == ""


def llama_like_backend() -> tokenizers.Tokenizer:
    """Pieces with ▁ for a space and <0xNN> for bytes, as sentencepiece-made tokenizers have them."""
    words = ["<unk>", "<s>", "▁hello", "▁world", "▁", "!", "né", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend = tokenizers.Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, [], byte_fallback=True))
    backend.add_special_tokens(["<s>"])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return backend


def llama_like() -> Tokenizer:
    return Tokenizer(Library(llama_like_backend()))


def test_other_decoders_stream_too() -> None:
    tokenizer = llama_like()
    ids = [1, 2, 3, 5, *(7 + byte for byte in "🦩é".encode()), 6, *[3] * 20, 5]
    pieces = streamed(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids) == "hello world!🦩éné" + " world" * 20 + "!"
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_become_a_character_are_shown_as_such() -> None:
    pieces = streamed(llama_like(), [2, 7 + 0xF0, 7 + 0x9F, 3])
    assert "".join(pieces) == "hello\ufffd world"


# --- the bytes of tokens ------------------------------------------------------------------------------------


@given(st.text(max_size=40))
def test_the_bytes_of_a_texts_tokens_are_what_they_decode_to(qwen: Tokenizer, text: str) -> None:
    ids = qwen.encode_plain(text)
    assert b"".join(map(qwen.bytes_of, ids)) == qwen.decode(ids).encode()


def test_pieces_stand_for_their_words_and_byte_tokens_for_their_byte() -> None:
    tokenizer = llama_like()
    assert [tokenizer.bytes_of(id) for id in (2, 4, 6, 7 + 0xF0)] == [b" hello", b" ", "né".encode(), b"\xf0"]


def test_a_control_token_stands_for_its_name_and_no_token_for_nothing(starter_tokenizer: Tokenizer) -> None:
    assert starter_tokenizer.controls[1] == "<|im_start|>"
    assert starter_tokenizer.bytes_of(1) == b"<|im_start|>"
    assert starter_tokenizer.bytes_of(starter_tokenizer.size) == b""


def test_how_it_makes_tokens_has_a_name(starter_tokenizer: Tokenizer) -> None:
    assert (starter_tokenizer.kind, llama_like().kind) == ("byte-level BPE", "BPE")


# --- folders ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    backend.add_special_tokens(["<s>", "</s>", "<end>"])
    backend.enable_truncation(1)
    backend.enable_padding(length=8)
    backend.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing from .*; download the model again"):
        Tokenizer.from_folder(tmp_path)


def test_a_bare_tokenizer_is_enough_for_text(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    assert (tokenizer.size, tokenizer.bos_id, tokenizer.eos_ids, tokenizer.template) == (
        5,
        None,
        frozenset(),
        None,
    )
    assert tokenizer.encode("ab<s>") == [0, 1, 2]  # whatever truncation and padding the file asks for
    with pytest.raises(ModelError, match="has no chat template") as caught:
        tokenizer.prompt([Turn("user", "a")])
    assert caught.value.kind == "template"


def test_everything_around_it_is_read(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "old"})
    )
    (folder / "generation_config.json").write_text('{"eos_token_id": [4, true, -1, "x"]}')
    (folder / "config.json").write_text('{"eos_token_id": 3}')
    (folder / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.bos_id == 2 and tokenizer.eos_ids == {3, 4}
    assert tokenizer.prompt([Turn("user", "ab")]) == [2, 0, 1]


def test_of_several_templates_the_default_is_used(folder: Path) -> None:
    templates = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    assert Tokenizer.from_folder(folder).prompt([Turn("user", "b")]) == [0]


# --- options --------------------------------------------------------------------------------------------------------

BYTES = {"replace": "a\ufffdb", "ignore": "ab"}


def written(folder: Path, **settings: object) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("make", ["bytes", "pieces"])
def test_bytes_that_are_no_text_are_replaced_left_out_or_refused(tmp_path: Path, make: str) -> None:
    if make == "bytes":
        backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "ð": 2, "Ł": 3, "<s>": 4}, []))
        backend.add_special_tokens(["<s>"])
        backend.decoder = decoders.ByteLevel()
        ids = [4, 0, 2, 3, 1]  # F0 9F, half of an emoji
    else:
        backend = llama_like_backend()
        ids = [1, backend.token_to_id("!"), 7 + 0xF0, 7 + 0x9F, backend.token_to_id("!")]
    backend.save(str(tmp_path / "tokenizer.json"))
    for errors in ("replace", "ignore"):
        tokenizer = Tokenizer.from_folder(tmp_path, errors=errors)
        expected = BYTES[errors] if make == "bytes" else BYTES[errors].replace("a", "!").replace("b", "!")
        assert "".join(streamed(tokenizer, ids)) == expected
        assert tokenizer.decode(ids).replace("\ufffd\ufffd", "\ufffd") == expected
        assert tokenizer.decode(ids, skip_special=False) == "<s>" + tokenizer.decode(ids)
    strict = Tokenizer.from_folder(written(tmp_path, errors="strict"))  # as the checkpoint asks for
    for read in (strict.decode, lambda ids: streamed(strict, ids)):
        assert "".join(read(ids[:2])) == ("a" if make == "bytes" else "!")
        with pytest.raises(ModelError, match=r"the bytes F0 9F, which are no text") as caught:
            read(ids)
        assert caught.value.kind == "request"
        with pytest.raises(ModelError, match=r"the bytes F0"):
            read(ids[:3])
    assert Tokenizer.from_folder(tmp_path, errors="ignore").options.errors == "ignore"


def test_the_unknown_token_stands_for_what_cannot_be_spelled(folder: Path) -> None:
    backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "?": 2}, []))
    backend.save(str(folder / "tokenizer.json"))
    assert Tokenizer.from_folder(folder).encode("axb") == [0, 1]
    tokenizer = Tokenizer.from_folder(written(folder, unk_token="?"))
    assert tokenizer.encode("axb") == tokenizer.encode_plain("axb") == [0, 2, 1] and tokenizer.unk_id == 2
    assert Tokenizer.from_folder(folder, unk_token="b").encode("axb") == [0, 1, 1]


def test_begin_and_end_are_the_chosen_ones(folder: Path) -> None:
    written(folder, bos_token="<s>", eos_token="</s>", chat_template="{{ bos_token }}a{{ eos_token }}{{ sep_token }}")
    tokenizer = Tokenizer.from_folder(folder)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.eos_ids) == (2, 3, {3})
    assert tokenizer.prompt([]) == [2, 0, 3]
    other = Tokenizer.from_folder(folder, bos_token="</s>", eos_token="<end>")
    assert (other.bos_id, other.eos_ids, other.prompt([])) == (3, {4}, [3, 0, 4])
    none = Tokenizer.from_folder(folder, eos_token=None)
    assert none.eos_ids == frozenset() and none.prompt([]) == [2, 0]


def test_templates_get_all_tokens_that_the_checkpoint_names(folder: Path) -> None:
    written(
        folder,
        pad_token="<s>",
        image_token={"content": "</s>"},
        add_bos_token=True,
        extra_special_tokens={"end_token": "<end>"},
        additional_special_tokens=["a", {"content": "b"}],
        chat_template="{{ pad_token }}{{ image_token }}{{ end_token }}"
        "{{ additional_special_tokens[1] }}{{ add_bos_token }}",
    )
    assert Tokenizer.from_folder(folder).prompt([]) == [2, 3, 4, 1]


def test_rows_are_padded_on_the_chosen_side(folder: Path) -> None:
    batch = [[0, 1, 0], [], [1]]
    right = Tokenizer.from_folder(written(folder, pad_token="<end>"))
    assert right.pad(batch) == ([[0, 1, 0], [4, 4, 4], [1, 4, 4]], [[1, 1, 1], [0, 0, 0], [1, 0, 0]])
    left = Tokenizer.from_folder(written(folder, pad_token="<end>", padding_side="left"))
    assert left.pad(batch) == ([[0, 1, 0], [4, 4, 4], [4, 4, 1]], [[1, 1, 1], [0, 0, 0], [0, 0, 1]])
    assert left.options.padding_side == "left"
    assert Tokenizer.from_folder(folder, padding_side="right", pad_token="</s>").pad([[0], []])[0] == [[0], [3]]
    assert right.pad([]) == ([], []) and batch == [[0, 1, 0], [], [1]]


def test_without_a_pad_token_there_is_no_batch(folder: Path) -> None:
    with pytest.raises(ModelError, match="has no pad token") as caught:
        Tokenizer.from_folder(folder).pad([[1], [1, 2]])
    assert caught.value.kind == "request"


def test_special_tokens_can_be_read_as_text_but_prompts_keep_theirs(
    converted_starter: Path, starter_tokenizer: Tokenizer
) -> None:
    splitting = Tokenizer.from_folder(converted_starter, split_special_tokens=True)
    text = "<|im_start|>a"
    assert starter_tokenizer.encode(text)[0] == 1
    assert splitting.encode(text) == starter_tokenizer.encode_plain(text)
    assert splitting.decode(splitting.encode(text)) == text
    turns = [Turn("user", "<|im_end|> hi")]
    assert splitting.prompt(turns) == starter_tokenizer.prompt(turns)


def test_added_tokens_that_are_not_special_are_never_split(folder: Path) -> None:
    backend = tokenizers.Tokenizer(models.BPE({"<": 0, "x": 1, ">": 2, "s": 3}, []))
    backend.add_special_tokens(["<s>"])
    backend.add_tokens(["<x>"])
    backend.save(str(folder / "tokenizer.json"))
    assert Tokenizer.from_folder(folder).encode("<s><x>") == [4, 5]
    assert Tokenizer.from_folder(written(folder, split_special_tokens=True)).encode("<s><x>") == [0, 3, 2, 5]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"errors": "loud"}, "errors is 'loud'; it must be one of replace, strict and ignore"),
        ({"errors": []}, "errors is"),
        ({"padding_side": "top"}, "padding_side is 'top'; it must be left or right"),
        ({"split_special_tokens": 1}, "must be True or False"),
        ({"bos_token": 3}, "bos_token is 3; it must be a token or None"),
        ({"pad_token": "<pad>"}, "has no '<pad>' to be its pad_token; choose a token of its vocabulary"),
        ({"unk_token": "<s>"}, "has no '<s>' to be its unk_token"),  # the model itself has to know what it writes
        ({"colour": "red"}, "options are errors, unk_token"),
    ],
)
def test_options_that_cannot_be_are_named(folder: Path, options: dict, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence) as caught:
        Tokenizer.from_folder(folder, **options)
    assert caught.value.kind == "request"


def test_what_a_checkpoint_says_that_cannot_be_is_passed_over(folder: Path) -> None:
    written(folder, errors="loud", padding_side=7, pad_token=["a"], split_special_tokens="yes", eos_token="<none>")
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.options == TokenizerOptions(eos_token="<none>") and tokenizer.eos_ids == frozenset()


def test_a_merge_to_no_token_is_a_damaged_file_though_the_library_panics(folder: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read .*download it again"):
        Tokenizer.from_folder(folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=name) as caught:
        Tokenizer.from_folder(folder)
    assert "download it again" in str(caught.value) and "\n" not in str(caught.value)
