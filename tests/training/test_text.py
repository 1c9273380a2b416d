"""The text that the demonstration models learn from: the same for a seed, varied, right, and as the app will ask."""

import re
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from model.tokenizer import Tokenizer, Turn
from tests.training.corpus import control_ids, rows_of, tokenizer_for, tokens_of, write_tokenizer
from tests.training.garden import MONTHS, NUMBERS, PLANTS, REMEDIES, Span
from tests.training.stories import story
from tests.training.text import END, Document, documents

COUNT = 400


@pytest.fixture(scope="module")
def made() -> list[Document]:
    return list(documents(7, COUNT))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = tokenizer_for(7, size=600, count=100)
    write_tokenizer(tokenizer, folder)
    return folder


def test_a_seed_makes_the_same_documents_and_another_seed_others(made: list[Document]) -> None:
    assert list(documents(7, COUNT)) == made
    assert not set(documents(8, COUNT)) & set(made) - {one for one in made if len(one.turns) == 1}


def test_hardly_anything_comes_twice(made: list[Document]) -> None:
    assert len({one.written() for one in made}) > 0.97 * COUNT


def test_many_conversations_reach_beyond_the_window(made: list[Document]) -> None:
    words = [len(one.written().split()) for one in made if one.turns]
    assert sum(count > 2 * 64 for count in words) > len(words) / 3


def test_no_sentence_has_a_hole_or_a_doubled_mark(made: list[Document]) -> None:
    for document in made:
        for text in (document.text, *(answer for _, answer in document.turns)):
            assert text == text.strip()
            assert not re.search(r"[{}|]|  |\.\.(?!\.)|,,|\b(?:None|True)\b", text), text


def test_names_are_told_back_as_they_were_told(made: list[Document]) -> None:
    told = [
        (found[1], answer)
        for document in made
        for question, _ in document.turns
        if (found := re.search(r"(?:[Mm]y name is|Call me) ([A-Z][a-z]+)", question))
        for asked, answer in document.turns
        if asked in ("What is my name?", "Who am I?", "What was my name?")
    ]
    assert len(told) > 3
    assert all(name in answer for name, answer in told)


def test_what_a_basket_holds_is_counted_right(made: list[Document]) -> None:
    value = {word: number for number, word in enumerate(NUMBERS)}
    for document in made:
        for (_, before), (question, after) in pairwise(document.turns):
            found = re.fullmatch(r"(?:I picked|And|Now) (\w+) more\.", question)
            earlier = re.fullmatch(r"That makes (\w+) [\w ]+\.", before)
            if found and earlier:
                assert f" {NUMBERS[value[earlier[1]] + value[found[1]]]} " in after


def test_months_go_over_the_turn_of_the_year() -> None:
    winter = Span(9, 1)
    assert [month for month in range(12) if month in winter] == [0, 1, 9, 10, 11]
    assert str(winter) == f"from {MONTHS[9]} to {MONTHS[1]}"
    assert str(Span(6, 6)) == "in July"
    assert str(Span(0, 11)) == "all year round"


def test_every_plant_has_neighbours_and_every_pest_a_remedy() -> None:
    names = {plant.name for plant in PLANTS}
    for plant in PLANTS:
        assert {plant.friend, plant.foe} <= names - {plant.name}
        assert plant.pest in REMEDIES or plant.pest == "hardly anything"


def test_a_story_tells_what_is_asked_about_it() -> None:
    for seed in range(60):
        told = story(Random(seed))
        for question, answer in told.facts:
            called = re.fullmatch(r"What was the (\w+) called\?", question)
            if called:
                assert answer.rstrip(".").rpartition(" ")[2] in told.text


def test_a_conversation_is_written_as_the_chat_template_writes_it(made: list[Document], checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_folder(checkpoint)
    for document in (one for one in made[:60] if one.turns):
        turns = [Turn("system", document.system)] if document.system else []
        for question, answer in document.turns:
            turns += [Turn("user", question), Turn("assistant", answer)]
        learnt = tokenizer.encode_control(document.written())
        assert tokenizer.prompt(turns, add_generation_prompt=False) == learnt
        asked = tokenizer.prompt(turns[:-1])
        assert learnt[: len(asked)] == asked


def test_an_answer_ends_with_the_token_that_ends_answers(checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_folder(checkpoint)
    assert tokenizer.eos_ids == {tokenizer.encode_control(END)[0]}


def test_what_counts_are_answers_and_stories() -> None:
    tokenizer = tokenizer_for(3, size=600, count=60)
    rows = rows_of(tokenizer, tokens_of(tokenizer, 3, 60), 2048)
    counted = tokenizer.decode(rows.ids[:, 1:][rows.counts].tolist(), skip_special_tokens=False)
    wanted = [text for one in documents(3, 60) for text in ([one.text] if one.text else [a for _, a in one.turns])]
    assert counted == "".join(f"{text}{END}" for text in wanted)


def test_rows_hold_whole_documents_and_all_of_them() -> None:
    tokenizer = tokenizer_for(3, size=600, count=60)
    texts = tokens_of(tokenizer, 3, 60)
    rows = rows_of(tokenizer, texts, 2048)
    start = control_ids(tokenizer)["bos_token_id"]
    assert (rows.ids[:, 0] == start).all()
    assert (rows.ids == start).sum() == len(texts)


def test_batches_come_in_an_order_of_the_seed() -> None:
    tokenizer = tokenizer_for(3, size=600, count=60)
    rows = rows_of(tokenizer, tokens_of(tokenizer, 3, 60), 256)
    first, again, other = (rows.batches(4, seed) for seed in (1, 1, 2))
    ids = [next(first)[0] for _ in range(8)]
    assert all((one == next(again)[0]).all() for one in ids)
    assert not all((one == next(other)[0]).all() for one in ids)
    assert ids[0].dtype == np.int32 and ids[0].shape == (4, 257)
