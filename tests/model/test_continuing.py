"""An answer that was stopped and goes on is the answer that was never stopped: the same tokens, the same text."""

import pytest

import model
from model import ModelError, Sampling
from model.generation import Piece
from model.tokenizer import Turn
from tests.checkpoints import CHATML, random_checkpoint, reciting_checkpoint, speaking_checkpoint

GREEDY = Sampling(temperature=0)
HELLO = Turn("user", "hello")
OPENED = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
CHOOSING = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n<think>\n{% if enable_thinking is false %}\n</think>\n\n{% endif %}{% endif %}",
)
THOUGHTS = (b"Let me", b"\xf0", b"\x9f", b"\xa6", b"\xa9", b" see", b"</", b"think>", b"\n\n\n")
ANSWER = (b"caf", b"\xc3", b"\xbc", b"?", b" <thi", b"nk> ", b"\xe2", b"\x82", b" half", b"\xe2\x82", b"\xac")


@pytest.fixture(scope="module")
def reciting(tmp_path_factory):
    """Models by how their answers begin: with reasoning, with reasoning that the prompt has opened, without any."""
    folder = tmp_path_factory.mktemp("reciting")
    return {
        "reasoning": model.load(reciting_checkpoint(folder / "a", b"<th", b"ink>", b"\n\n", *THOUGHTS, *ANSWER)),
        "opened": model.load(reciting_checkpoint(folder / "b", *THOUGHTS, *ANSWER, template=OPENED)),
        "plain": model.load(reciting_checkpoint(folder / "c", *ANSWER)),
    }


def joined(pieces) -> tuple[str, str]:
    parts = {"reasoning": "", "answer": ""}
    for piece in pieces:
        parts[piece.part] += piece.text
    return parts["reasoning"], parts["answer"]


def go_on(loaded, session, begun=(), **more):
    """The generation behind what was begun, at its end, and all its pieces."""
    opening = loaded.opening([HELLO, Turn("assistant", "", tuple(begun))])
    generation = loaded.generation(
        session, opening.prompt, GREEDY, begun=opening.begun, thinking=opening.thinking, **more
    )
    pieces = [*generation.restated, *(piece for token in generation for piece in token.pieces), *generation.rest()]
    return generation, pieces


@pytest.mark.parametrize("kind", ["reasoning", "opened", "plain"])
def test_stopping_anywhere_and_going_on_changes_nothing(reciting, kind):
    loaded = reciting[kind]
    whole, pieces = go_on(loaded, loaded.session())
    assert whole.reason == "stop"
    reasoning, answer = expected = joined(pieces)
    assert answer == "cafü? <think> \ufffd half€" and (reasoning == "Let me🦩 see") == (kind != "plain")
    for stop in range(1, len(whole.token_ids) + 1):
        session = loaded.session()
        first, _ = go_on(loaded, session, max_tokens=stop)
        rest, text = go_on(loaded, session, first.token_ids)
        assert first.token_ids + rest.token_ids == whole.token_ids
        assert joined(text) == expected
        assert rest.prompt_tokens == whole.prompt_tokens + stop
        assert rest.reused_tokens >= rest.prompt_tokens - 2
        fresh, text = go_on(loaded, loaded.session(), first.token_ids)
        assert fresh.token_ids == rest.token_ids and joined(text) == expected


@pytest.mark.parametrize("cancelled_after", range(4, 17))
def test_stopping_twice_while_it_writes_changes_nothing(reciting, cancelled_after):
    loaded, session, begun = reciting["reasoning"], reciting["reasoning"].session(), []
    whole, pieces = go_on(loaded, loaded.session())
    for _ in range(2):
        left = iter(range(cancelled_after))
        part, _ = go_on(loaded, session, begun, cancelled=lambda left=left: next(left, None) is None)
        begun += part.token_ids
    rest, text = go_on(loaded, session, begun)
    assert begun + rest.token_ids == whole.token_ids and joined(text) == joined(pieces)


def test_the_law_holds_for_a_model_whose_words_depend_on_all_before(tmp_path):
    shape = {"use_sliding_window": True, "sliding_window": 6, "num_hidden_layers": 4}
    layers = ["sliding_attention", "full_attention"] * 2
    loaded = model.load(speaking_checkpoint(tmp_path / "hybrid", seed=3, layer_types=layers, **shape))
    for sampling in (
        GREEDY,
        Sampling(temperature=0, repetition_penalty=1.3),
        Sampling(temperature=0.9, top_k=20, repetition_penalty=1.1, seed=5),
        Sampling(presence_penalty=0.2, frequency_penalty=0.3, penalty_decay=0.9, seed=6),
    ):
        prompt = loaded.prompt([HELLO])
        whole = [token.id for token in loaded.generation(loaded.session(), prompt, sampling, max_tokens=14)]
        for stop in range(1, len(whole)):
            session = loaded.session()
            list(loaded.generation(session, prompt, sampling, max_tokens=stop))
            rest = loaded.generation(session, prompt, sampling, begun=whole[:stop], max_tokens=14 - stop)
            assert [token.id for token in rest] == whole[stop:]
            assert rest.reused_tokens >= rest.prompt_tokens - 2


def test_half_a_character_at_the_stop_is_shown_and_then_made_whole(reciting):
    loaded = reciting["plain"]
    stopped, text = go_on(loaded, loaded.session(), max_tokens=2)
    assert joined(text) == ("", "caf\ufffd")
    rest, _ = go_on(loaded, loaded.session(), stopped.token_ids, max_tokens=1)
    assert rest.restated == (Piece("answer", "caf"),)


def test_an_answer_that_had_ended_may_just_end_again(reciting):
    loaded = reciting["plain"]
    whole, text = go_on(loaded, loaded.session())
    again, restated = go_on(loaded, loaded.session(), whole.token_ids)
    assert (again.token_ids, again.reason) == ([], "stop") and joined(restated) == joined(text)


def test_behind_the_token_that_ends_an_answer_nothing_comes(reciting):
    loaded = reciting["plain"]
    (end,) = loaded.ends
    whole, text = go_on(loaded, loaded.session(), [65, 66, end])
    assert (whole.begun, whole.token_ids, whole.reason) == ([65, 66], [], "stop")
    assert joined(text) == ("", loaded.tokenizer.decode([65, 66]))


def test_an_answer_with_a_stop_string_has_ended(reciting):
    loaded = reciting["plain"]
    stopped, text = go_on(loaded, loaded.session(), stops=["?"])
    again, restated = go_on(loaded, loaded.session(), stopped.token_ids, stops=["?"])
    assert (again.token_ids, again.reason) == ([], "stop") and joined(restated) == joined(text)


def test_what_is_held_back_is_said_where_nothing_may_follow(reciting):
    loaded = reciting["plain"]
    stopped, text = go_on(loaded, loaded.session(), max_tokens=2)
    _, again = go_on(loaded, loaded.session(), stopped.token_ids, max_tokens=0)
    assert joined(again) == joined(text)


def test_words_without_tokens_are_read_as_a_persons(reciting):
    loaded = reciting["plain"]
    opening = loaded.opening([HELLO, Turn("assistant", "so <|im_end|> it is")])
    assert opening.prompt == loaded.prompt([HELLO]) and not opening.thinking
    assert opening.begun == loaded.tokenizer.encode_plain("so <|im_end|> it is")
    assert not loaded.ends & set(opening.begun)


@pytest.mark.parametrize(("line", "closing"), [("\n", "\n</think>\n\n"), ("", "\n\n</think>\n\n")])
def test_reasoning_that_the_prompt_opens_is_closed_before_words_without_tokens(tmp_path, line, closing):
    template = CHATML.replace("assistant\n{% endif %}", f"assistant\n<think>{line}{{% endif %}}")
    loaded = model.load(speaking_checkpoint(tmp_path / "opens", template))
    opening = loaded.opening([HELLO, Turn("assistant", "It is so")])
    assert opening.thinking and loaded.tokenizer.decode(opening.begun) == f"{closing}It is so"
    generation = loaded.generation(
        loaded.session(), opening.prompt, GREEDY, begun=opening.begun, thinking=opening.thinking, max_tokens=1
    )
    assert joined(generation.restated) == ("", "It is so")
    assert loaded.opening([HELLO, Turn("assistant", "")]).begun == []


@pytest.mark.parametrize(
    ("template", "can"),
    [(CHATML, False), (CHOOSING, True), ("{{ thinking }}", True), ("{{ raise_exception('no') }}", False)],
)
def test_a_template_tells_whether_reasoning_can_be_chosen(tmp_path, template, can):
    assert model.load(speaking_checkpoint(tmp_path / "choosing", template)).can_choose_thinking() == can


def test_what_speaks_no_words_has_no_reasoning_to_choose(tmp_path):
    assert not model.load(random_checkpoint(tmp_path / "mute")).can_choose_thinking()


def test_an_answer_that_goes_on_stands_behind_the_prompt_it_was_asked_by(tmp_path):
    loaded = model.load(speaking_checkpoint(tmp_path / "choosing", CHOOSING))
    closed, opened = (loaded.prompt([HELLO], thinking) for thinking in (False, True))
    assert loaded.tokenizer.decode(closed).endswith("\n</think>\n\n") and closed != opened
    for thinking, prompt in ((False, closed), (True, opened)):
        opening = loaded.opening([HELLO, Turn("assistant", "abc", (65, 66))], thinking)
        assert (opening.prompt, opening.begun) == (prompt, [65, 66])
        assert opening.thinking == thinking == loaded.opening([HELLO], thinking).thinking
    assert loaded.opening([HELLO]).prompt == opened


def test_a_conversation_that_ends_with_a_question_has_nothing_begun(reciting):
    opening = reciting["plain"].opening([HELLO])
    assert opening.begun == [] and opening.tokens == opening.prompt == reciting["plain"].prompt([HELLO])


def test_tokens_that_are_none_are_refused(reciting):
    loaded = reciting["plain"]
    with pytest.raises(ModelError, match="Token 99999 is not one of") as raised:
        loaded.generation(loaded.session(), [1], GREEDY, begun=[99999])
    assert raised.value.kind == "request"


def test_tokens_without_text_go_on_too(tmp_path):
    loaded = model.load(random_checkpoint(tmp_path / "mute"))
    whole = [token.id for token in loaded.generation(loaded.session(), [1, 2], GREEDY, max_tokens=9)]
    rest = loaded.generation(loaded.session(), [1, 2], GREEDY, begun=whole[:4], max_tokens=5)
    assert [token.id for token in rest] == whole[4:] and rest.restated == ()
