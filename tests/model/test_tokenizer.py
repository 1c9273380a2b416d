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

from model.errors import ModelError
from model.template import ChatTemplate
from model.tokenizer import Tokenizer, Turn

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRIMMING = CHATML.replace("m.content", "m.content | trim")
JOINING = "{% for m in messages %}{{ m.content | trim }}{% endfor %}"


@pytest.fixture(scope="session")
def qwen(qwen_folder: Path) -> Tokenizer:
    backend = tokenizers.Tokenizer.from_file(str(qwen_folder / "tokenizer.json"))
    return Tokenizer(backend, eos_token="<|im_end|>", template=ChatTemplate(CHATML))


def with_template(tokenizer: Tokenizer, source: str) -> Tokenizer:
    """The same tokenizer under another template."""
    other = copy.copy(tokenizer)
    other.template = ChatTemplate(source)
    return other


# --- the real Qwen vocabulary -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ids"),
    [
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
    ],
)
def test_qwen_gives_the_published_ids(qwen: Tokenizer, text: str, ids: list[int]) -> None:
    assert qwen.encode(text) == ids


def test_the_rebuilt_qwen_vocabulary_is_whole(qwen: Tokenizer, qwen_folder: Path) -> None:
    rebuilt = json.loads((qwen_folder / "tokenizer.json").read_text())["model"]
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


@settings(max_examples=150, deadline=None)
@given(fragments("<tool_call>", "<|fim_prefix|>"))
def test_no_typed_text_becomes_a_control_token_in_qwen(qwen: Tokenizer, text: str) -> None:
    assert max(qwen.encode_plain(text), default=0) < 151_643


@settings(max_examples=150, deadline=None)
@given(fragments("<repo_name>", "<jupyter_code>"))
def test_nor_in_a_vocabulary_that_holds_the_literals_itself(starter_tokenizer: Tokenizer, text: str) -> None:
    ids = starter_tokenizer.encode_plain(text)
    assert min(ids, default=17) >= 17  # 0..16 are the starter's control tokens


def test_a_vocabulary_that_prefers_whole_words_is_broken_down() -> None:
    vocabulary = {"<": 0, "x": 1, ">": 2, "<x>": 3, "Ã": 4, "©": 5, "é": 6, "§": 7, "Â": 8}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.add_special_tokens(["<x>", "§"])
    tokenizer = Tokenizer(backend)
    assert tokenizer.encode("<x>") == [3]
    assert tokenizer.encode_plain("<x>") == [0, 1, 2]
    assert tokenizer.encode_plain("x<x>é") == [1, 0, 1, 2, 4, 5]
    assert 7 not in tokenizer.encode_plain("§")


@settings(max_examples=100, deadline=None)
@given(st.lists(fragments("<tool_call>"), min_size=1, max_size=5), st.sampled_from([CHATML, TRIMMING]))
def test_a_conversation_has_exactly_the_templates_control_tokens(
    qwen: Tokenizer, contents: list[str], source: str
) -> None:
    turns = [Turn("assistant" if n % 2 else "user", content) for n, content in enumerate(contents)]
    ids = with_template(qwen, source).prompt(turns)
    control = [id for id in ids if id >= 151_643]
    assert control == [151644, 151645] * len(turns) + [151644]


@settings(max_examples=100, deadline=None)
@given(st.lists(fragments(), min_size=2, max_size=4))
def test_nor_can_two_messages_make_one_where_a_template_joins_them(qwen: Tokenizer, contents: list[str]) -> None:
    joining = with_template(qwen, JOINING)
    assert max(joining.prompt([Turn("user", content) for content in contents]), default=0) < 151_643


def test_characters_that_a_normaliser_turns_into_a_literal_stay_text() -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"<x>": 0, "[?]": 1}, unk_token="[?]"))
    backend.normalizer = normalizers.NFKC()
    backend.add_special_tokens([tokenizers.AddedToken("<x>", normalized=True)])
    tokenizer = Tokenizer(backend, template=ChatTemplate("<x>{% for m in messages %}{{ m.content }}{% endfor %}"))
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
    marker = (151_000, 151_001)
    turns = [Turn("user", "hi"), Turn("assistant", content, marker)]
    ids = tokenizer.prompt(turns, add_generation_prompt=False)
    assert (151_000 in ids) == kept
    if not kept:
        assert ids == tokenizer.prompt([turns[0], Turn("assistant", content)], add_generation_prompt=False)


def test_one_changed_answer_does_not_cost_the_others_their_ids(qwen: Tokenizer) -> None:
    tokenizer = with_template(qwen, TRIMMING)
    ids = tokenizer.prompt([Turn("assistant", "one", (1000,)), Turn("assistant", "two\n", (1001,))])
    assert 1000 in ids and 1001 not in ids


def test_ids_beyond_the_vocabulary_are_not_believed(qwen: Tokenizer) -> None:
    turns = [Turn("assistant", "one", (10**9,))]
    assert qwen.prompt(turns) == qwen.prompt([Turn("assistant", "one")])


# --- streaming ----------------------------------------------------------------------------------------------


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = tokenizer.detokenizer()
    return [*(detokenizer.add(id) for id in ids), detokenizer.flush()]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 151_700), max_size=30))
def test_any_ids_stream_to_what_they_decode_to(qwen: Tokenizer, ids: list[int]) -> None:
    assert "".join(streamed(qwen, ids)) == qwen.decode(ids)


@settings(max_examples=150, deadline=None)
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


def llama_like() -> Tokenizer:
    """Pieces with ▁ for a space and <0xNN> for bytes, as sentencepiece-made tokenizers have them."""
    words = ["<unk>", "<s>", "▁hello", "▁world", "▁", "!", "né", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend = tokenizers.Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, [], byte_fallback=True))
    backend.add_special_tokens(["<s>"])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Tokenizer(backend)


def test_other_decoders_stream_too() -> None:
    tokenizer = llama_like()
    ids = [1, 2, 3, 5, *(7 + byte for byte in "🦩é".encode()), 6, *[3] * 20, 5]
    pieces = streamed(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids) == "hello world!🦩éné" + " world" * 20 + "!"
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_become_a_character_are_shown_as_such() -> None:
    pieces = streamed(llama_like(), [2, 7 + 0xF0, 7 + 0x9F, 3])
    assert "".join(pieces) == "hello\ufffd world"


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


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=name) as caught:
        Tokenizer.from_folder(folder)
    assert "download it again" in str(caught.value) and "\n" not in str(caught.value)
