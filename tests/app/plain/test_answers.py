"""Questions and answers line by line: said word by word, never again, and kept like everywhere."""

import pytest

from app.chat.store import Draft, Store
from app.plain.listening import INTERRUPT
from app.settings import Settings
from tests.app.plain.conftest import Opener
from tests.app.tui.window import STARTER, a_model, converse
from tests.waiting import until


async def test_an_answer_is_said_by_whole_words_as_it_comes(talking: Opener, store: Store) -> None:
    async with talking() as talk:
        turn = await talk.ask("Why is the sky blue?")
        turn.say("Scatt")
        turn.say("ering of li")
        assert (await talk.until("starter: Scattering of ")).endswith("\nstarter: Scattering of ")
        turn.say("ght.")
        turn.finish()
        assert (await talk.until("You: ")).startswith("light.\nComplete after ")
    question, answer = store.branch(store.latest().id)
    assert (question.content, answer.content, answer.status) == (
        "Why is the sky blue?",
        "Scattering of light.",
        "complete",
    )


async def test_words_that_need_no_gaps_are_not_waited_for(talking: Opener) -> None:
    async with talking() as talk:
        turn = await talk.ask("東京?")
        turn.say("日本の首都")
        await talk.until("starter: 日本の首都")
        turn.finish()
        await talk.until("Complete")


async def test_the_end_is_one_line_with_time_and_speed(talking: Opener) -> None:
    async with talking() as talk:
        turn = await talk.ask("Count.")
        for word in ("one ", "two ", "three"):
            turn.say(word)
        turn.finish("length")
        said = await talk.until("You: ")
    ended, note = said.split("\n")[-3:-1]
    assert ended.startswith("Complete after 0.") and ended.endswith(" s, 2.0 tokens a second.")
    assert "reached the length" in note


async def test_what_a_model_writes_acts_on_no_terminal(talking: Opener) -> None:
    async with talking() as talk:
        said = await talk.answered("Hostile?", "a \x1b[2Jb \r\u202ec \x9b31m")
    assert "starter: a [2Jb c 31m\n" in said and not set("\x1b\r\u202e\x9b") & set(said)


@pytest.mark.parametrize("reasoning", ["folded", "open"])
async def test_reasoning_is_said_once_or_whole(talking: Opener, reasoning) -> None:
    async with talking(Settings(reasoning=reasoning)) as talk:
        turn = await talk.ask("Why?")
        for thought in ("Let me ", "think of it"):
            turn.say(thought, "reasoning")
        turn.say("Because.")
        turn.finish()
        said = await talk.until("You: ")
    thought = "starter is thinking." if reasoning == "folded" else "starter thinks: Let me think of it"
    assert said.startswith(f"Why?\n{thought}\nstarter: Because.\nComplete")


async def test_ctrl_c_stops_the_answer_and_twice_at_the_prompt_quits(talking: Opener, store: Store) -> None:
    async with talking() as talk:
        turn = await talk.ask("Tell a long story.")
        turn.say("Once upon a ")
        await talk.until("Once upon a ")
        talk.plain.interrupt()
        await talk.until("Stopped after", "You: ")
        talk.plain.interrupt()
        await talk.until("Press Ctrl+C again", "You: ")
        await talk.hears("/versions")  # a line in between, and it begins anew
        talk.typed.type(INTERRUPT)
        await talk.until("Press Ctrl+C again", "You: ")
        talk.plain.interrupt()
        await until(lambda: talk.pool.closed)
    answer = store.branch(store.latest().id)[1]
    assert (answer.content, answer.status) == ("Once upon a ", "stopped")


async def test_how_far_something_has_come_is_said_seldom(talking: Opener, monkeypatch) -> None:
    async with talking() as talk:
        turn = await talk.ask("Long?")
        turn.read(10, 400)
        await talk.plain.room.aside("Nothing", lambda report: report(1, 2))
        monkeypatch.setattr("app.plain.answers.SELDOM", 0.0)
        turn.read(20, 400)
        said = await talk.until("Reading the prompt 20 of 400.\n")
        assert "10 of 400" not in said
        turn.finish()
        await talk.until("You: ")


async def test_an_engine_that_fails_is_one_sentence_and_no_end(talking: Opener) -> None:
    async with talking() as talk:
        turn = await talk.ask("Hello?")
        turn.die()
        assert "The engine stopped unexpectedly; ask again." in await talk.until("Interrupted", "You: ")
        turn = await talk.ask("Hello?")
        turn.fail("The context is too short.")
        assert "There is no answer.\nThe context is too short." in await talk.until("You: ")
        assert "starter: Hello." in await talk.answered("And now?", "Hello.")


async def test_an_error_nobody_foresaw_is_reported_without_words(talking: Opener, places, monkeypatch) -> None:
    async with talking() as talk:
        monkeypatch.setattr(talk.plain.answers, "send", None)
        assert "That did not work. A report without your words is in" in await talk.hears("secret")
    assert "secret" not in "".join(file.read_text() for file in places.logs.iterdir())


async def test_again_edit_versions_and_branches(talking: Opener, store: Store) -> None:
    async with talking() as talk:
        await talk.answered("Capital of Spain?", "Madrid.")
        await talk.answered("/again", "It is Madrid.")
        assert "Message 2 is version 2 of 2." in await talk.hears("/versions")
        assert "2. starter: Madrid." in await talk.hears("/versions 2 1")
        await talk.answered("/edit Capital of France?", "Paris.")
        talk.typed.type("/edit")
        await talk.until("Capital of France?", "Ask instead: ")
        await talk.answered("Capital of Italy?", "Rome.")
        assert "Message 1 is version 3 of 3." in await talk.hears("/versions")
        await talk.hears("/versions 1 1")
        assert "follows message 1" in await talk.hears("/branch 1")
        assert await talk.hears("/read") == "1. You: Capital of Spain?\n"
        assert "from 1 to 1" in await talk.hears("/branch 9")
    assert len(store.whole(store.latest().id)) == 7


async def test_an_answer_goes_on_where_it_ended_and_only_what_is_new_is_said(talking: Opener, store: Store) -> None:
    async with talking() as talk:
        turn = await talk.ask("Count.")
        turn.say("one two ")
        await talk.until("one two ")
        talk.plain.interrupt()
        await talk.until("Stopped", "You: ")
        turn = await talk.ask("/continue")
        turn.restate()
        turn.say("three")
        turn.finish()
        said = await talk.until("You: ")
    assert "starter: three\n" in said and "two" not in said
    assert store.branch(store.latest().id)[1].content == "one two three"


async def test_an_answer_to_which_nothing_is_added_says_so(talking: Opener, store: Store) -> None:
    async with talking() as talk:
        assert "nothing to add" not in await talk.answered("Count.", "one two")
        turn = await talk.ask("/continue")
        turn.restate()
        turn.finish()
        assert "Complete after" in (said := await talk.until("You: "))
    assert said.endswith("\nThe model has nothing to add.\nYou: ")
    assert store.branch(store.latest().id)[1].content == "one two"


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        (["one \\", "two"], "one \ntwo"),
        (["/paste", "one", "", "/help", "."], "one\n\n/help"),
        ([" /hlep"], " /hlep"),
        (["/usr/bin is what?"], "/usr/bin is what?"),
    ],
)
async def test_what_is_asked_may_have_any_form(talking: Opener, lines, asked) -> None:
    async with talking() as talk:
        for line in lines[:-1]:
            talk.typed.type(line)
        turn = await talk.ask(lines[-1])
        assert turn.messages[-1].content == asked
        turn.finish()
        await talk.until("You: ")


async def test_a_file_goes_along_with_one_question(talking: Opener, tmp_path) -> None:
    (tmp_path / "colours.md").write_text("Vermilion.")
    async with talking() as talk:
        assert "colours.md, 10 B, goes along" in await talk.hears(f"/attach {tmp_path / 'colours.md'}")
        assert "nowhere.md" in await talk.hears(f"/attach {tmp_path / 'nowhere.md'}")
        turn = await talk.ask("Which?")
        assert "Vermilion." in turn.messages[-1].content
        turn.say("Red.")
        turn.finish()
        await talk.until("You: ")
        turn = await talk.ask("And which now?")
        assert "Vermilion." not in turn.messages[-1].content
        turn.finish()
        await talk.until("You: ")


async def test_what_is_begun_is_kept_until_it_is_sent_or_thrown_away(talking: Opener, store: Store) -> None:
    made = converse(store, "Where is Riga?", "In the north.")
    async with talking() as talk:
        for line in ("/paste", "one", "two"):
            talk.typed.type(line)
        talk.typed.type(None)
        await talk.until("It is kept", "You: ")
        assert store.draft(made).text == "one\ntwo"
        assert "begun here and not sent" in await talk.hears(f"/open {made}")
        talk.typed.type("/paste")
        await talk.until("You had begun with this:\none\ntwo\n")
        talk.typed.type("three")
        turn = await talk.ask(".")
        assert turn.messages[-1].content == "one\ntwo\nthree" and store.draft(made) == Draft()
        turn.finish()
        await talk.until("Complete", "You: ")
        for line in ("/paste", "four"):
            talk.typed.type(line)
        talk.typed.type(INTERRUPT)
        await talk.until("Nothing was sent.", "You: ")
        assert store.draft(made) == Draft()


async def test_without_a_model_the_way_to_one_is_said(talking: Opener) -> None:
    broken = a_model("broken", STARTER.path, problem="broken has no config.json; download it again.")
    async with talking(None, broken) as talk:
        assert "quietly models get starter" in await talk.hears("Hello?")


async def test_a_question_follows_what_was_heard_and_not_what_another_window_has_asked(
    talking: Opener, store: Store
) -> None:
    conversation = converse(store, "Begin", "Begun")
    async with talking() as talk:
        with Store.open(store.path) as other:
            asked = other.ask(conversation, other.conversation(conversation).head, "Theirs")
            begun = other.begin_answer(conversation, asked.id, "starter", {})
            other.finish(begun.id, "complete", answer="Never heard here")
        assert "Never heard" not in await talk.hears("/read")
        turn = await talk.ask("Mine")
        assert [one.content for one in turn.messages] == ["Begin", "Begun", "Mine"]
        turn.finish()
        await talk.until("Complete", "\nYou: ")
        assert "Message 3 is version 2 of 2." in await talk.hears("/versions")
        assert "Never heard here" in await talk.hears("/versions 3 1")
        turn = await talk.ask("More")
        assert [one.content for one in turn.messages][2:] == ["Theirs", "Never heard here", "More"]
        turn.finish()
        await talk.until("Complete", "\nYou: ")


async def test_a_question_is_kept_while_words_that_another_window_added_are_read(talking: Opener, store: Store) -> None:
    conversation = converse(store, "Begin", "Begun")
    async with talking() as talk:
        with Store.open(store.path) as other:
            answer = other.resume(other.branch(conversation)[-1].id, "starter", {})
            other.finish(answer.id, "complete", answer="Begun, and gone on")
        assert "/paste goes on with them" in await talk.hears("Mine")
        assert "and gone on" in await talk.hears("/read 1")
        talk.typed.type("/paste")
        turn = await talk.ask(".")
        assert [one.content for one in turn.messages] == ["Begin", "Begun, and gone on", "Mine"]
        turn.finish()
        await talk.until("Complete", "\nYou: ")
