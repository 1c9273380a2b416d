"""What people are shown of a model: parts, layers, cache, tokens, template; whatever it holds, safely."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from app.inspecting.figures import as_json, sections
from app.inspecting.reading import inspect
from app.inspecting.told import Drawn, Source, Table, Words, laid
from tests.app.inspecting.conftest import PUBLISHED, RWKV7, text_of
from tests.checkpoints import speaking_checkpoint


def test_people_see_the_parts_the_layers_and_the_cache(config):
    config.write_text(
        json.dumps({**PUBLISHED, "use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 21})
    )
    text = text_of(sections(inspect(str(config.parent), None, ())))
    for wanted in (
        "7.6 B parameters (7,612,620,288)",
        "543,499,264 7.1%",
        "█████████████████████▄▄▄▄▄▄▄",
        "layers 21 to 27: ▄ the last 4,096 tokens",
        "GQA: 28 query heads, 4 KV heads of 128",
        "were it MHA, 16 bit 392 KiB",
        "a token 8,192 tokens 32,768 tokens",
        "as it is (GQA), 8 bit 29.8 KiB 208 MiB 744 MiB",
        "of what full attention would look at",
        "qwen2-7b has no tokenizer.json",
    ):
        assert wanted in text, wanted


def test_people_see_a_state_in_place_of_attention_and_what_attention_would_take(config):
    config.write_text(json.dumps(RWKV7))
    found = inspect(str(config), None, ())
    text = text_of(sections(found))
    for wanted in (
        "7.2 B parameters (7,199,141,888)",
        "no limit of context, trained to 4,096 tokens",
        "recurrence 2,366,369,792 32.9% 4.4 GiB",
        "no attention and no KV cache: 32.5 MiB after one token and after a million",
        "1,024 tokens 4,096 tokens 8,192 tokens 65,536 tokens",
        "its state 32.5 MiB 32.5 MiB 32.5 MiB 32.5 MiB",
        "KV cache of Qwen2.5 7B 56.0 MiB 224 MiB 448 MiB 3.5 GiB",
        "KV cache of MHA as wide and as deep 512 MiB 2.0 GiB 4.0 GiB 32.0 GiB",
        "that of Qwen2.5 7B with 595 tokens",
    ):
        assert wanted in text, wanted
    assert "heads" not in text and "█" not in text
    told = as_json(found)
    assert (told["context"], told["trained"], told["at"]["state_bytes"]) == (None, 4096, 34_078_720)
    assert "attention" not in told and told["beside_attention"][1] == {
        "name": "Qwen2.5 7B",
        "kv_bytes_per_token": 57_344,
        "kv_bytes": {"1024": 58_720_256, "4096": 234_881_024, "8192": 469_762_048, "65536": 3_758_096_384},
        "tokens_in_as_many_bytes": 594,
    }


def test_beside_a_small_state_stands_no_model_that_is_larger_by_far(config):
    config.write_text(json.dumps({**RWKV7, "hidden_size": 128, "num_hidden_layers": 2, "vocab_size": 300}))
    (alone,) = as_json(inspect(str(config), 2000, ()))["beside_attention"]
    assert alone["name"] == "MHA as wide and as deep" and "2000" in alone["kv_bytes"]


def test_people_see_what_pangu_pi_has_beside_attention(config):
    config.write_text(json.dumps({**PUBLISHED, "model_type": "pangu_pi"}))
    found = inspect(str(config), None, ())
    text = text_of(sections(found))
    assert "past attention 1 shortcut, 112 wide; in the feed-forward 2 activations in series" in text
    assert "28 query heads, 4 KV heads of 128" in text
    assert as_json(found)["attention"]["pangu_pi"]["num_series_activations"] == 2


def test_people_see_the_vocabulary_a_text_of_theirs_and_the_template(speaking):
    text = text_of(sections(inspect(str(speaking), None, ()), text="héllo"))
    for wanted in (
        "byte-level BPE, 258 tokens",
        "6 tokens in 5 characters: 1.20 a character",
        "256 <|im_start|>",
        "257 <|im_end|> eos, ends an answer",
        "characters in 4 lines",
        "{% for message in messages %}<|im_start|>{{ message.role }}",
    ):
        assert wanted in text, wanted


def test_rows_beyond_the_vocabulary_and_a_choice_of_reasoning_are_said(tmp_path):
    template = "{% if enable_thinking %}<think>{% endif %}{{ messages[0].content }}"
    folder = speaking_checkpoint(tmp_path / "padded", template)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "vocab_size": 320}))
    found = inspect(str(folder), None, ())
    text = text_of(sections(found))
    assert "62 more rows of the matrix stand for none" in text
    assert "it can be asked to reason first" in text and as_json(found)["tokenizer"]["can_choose_thinking"] is True


def test_of_hundreds_of_special_tokens_those_with_a_task_are_shown_first(tmp_path):
    folder = speaking_checkpoint(tmp_path / "many")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    spare = [{**tokenizer["added_tokens"][0], "id": 1000 + n, "content": f"<spare {n}>"} for n in range(300)]
    tokenizer["added_tokens"] = [*spare, *tokenizer["added_tokens"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = inspect(str(folder), None, ())
    text = text_of(sections(found))
    assert "<|im_end|> eos" in text and "and 262 more" in text
    assert len(as_json(found)["tokenizer"]["special"]) == 302


def test_a_hostile_name_and_template_reach_no_terminal(tmp_path):
    folder = speaking_checkpoint(tmp_path / "evil\x1b[31m[bold]", "{{ '\x1b[2J\u202e' }}\r\n[red]{{ messages }}")
    told = sections(inspect(str(folder), None, ()))
    text = text_of(told)
    assert "[bold]" in text and "[red]{{ messages }}" in text
    assert not set("\x1b\u202e\r") & set("".join(line.text for section in told for line in laid(section.parts, 80)))


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (20, ["part"]),
        (54, ["part", "parameters", "share", "as stored"]),
        (80, ["part", "parameters", "share", "as stored", "16 bit", "8 bit", "4 bit"]),
    ],
)
def test_a_table_leaves_out_its_last_columns_before_it_breaks(config, width, headings):
    (table,) = sections(inspect(str(config), None, ()))[1].parts
    lines = [line.text for line in laid([table], width)]
    assert re.split("  +", lines[0]) == headings
    assert all(cell_len(line) <= width for line in lines)


cells = st.text(st.sampled_from("ab 東🙂1"), max_size=8)


@given(rows=st.lists(st.tuples(cells, cells, cells), max_size=5), width=st.integers(1, 60))
def test_columns_stand_under_each_other_whatever_is_in_them(rows: list[tuple[str, str, str]], width: int) -> None:
    table = Table(("one", "two", "three"), tuple(rows), "<><", bold=0)
    lines = list(laid([table], width))
    assert len(lines) == len(rows) + 1
    widest = max(cell_len(row[0]) for row in [("one",), *rows])
    assert all(cell_len(line.text) <= max(width, widest) for line in lines)


def test_signs_and_sources_keep_to_their_lines() -> None:
    drawn = [line.text for line in laid([Drawn("█" * 150)], 200)]
    assert drawn == [f"  {'█' * 64}", f"  {'█' * 64}", f"  {'█' * 22}"]
    shown = [line.text for line in laid([Words("a"), Source("if x:\n\ty")], 200)]
    assert shown == ["a", "if x:", "    y"]
