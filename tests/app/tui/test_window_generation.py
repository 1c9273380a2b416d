"""How an answer is asked for: what a conversation, its model and the program have chosen, and what is kept of it."""

from app.chat.store import GenerationSettings, Message, Store
from app.conducting.turns import Conductor
from app.engine.protocol import Reading, SamplingOptions
from app.settings import Settings
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import LARGER, STARTER, FakeTurn, converse


def settings(**chosen: object) -> GenerationSettings:
    return GenerationSettings(**chosen)


def latest(store: Store) -> Message:
    return store.branch(store.conversations()[0].id)[-1]


async def asked(window: Window, question: str = "Why?", answer: str = "So.") -> FakeTurn:
    """Ask, and let the answer come and end; returns the turn."""
    await window.ask(question)
    turn = window.pool.turns[-1]
    turn.say(answer)
    turn.finish()
    await window.ended()
    return turn


async def test_a_conversation_stands_over_its_model_and_that_over_the_program(opened: Opener, store: Store) -> None:
    conversation = converse(store, "One?", "Two.")
    store.tune(conversation, settings(temperature=0, max_tokens=50))
    store.keep_model_settings("starter", settings(temperature=0.5, top_p=0.9, context=512, overflow="stop"))
    program = Settings(generation=settings(temperature=2, top_p=0.1, top_k=7, min_p=0.2, thinking=False))
    async with opened(settings=program) as window:
        turn = await asked(window)
        assert turn.sampling == SamplingOptions(temperature=0, top_p=0.9, top_k=7, min_p=0.2)
        assert turn.reading == Reading(context=512, overflow="stop", thinking=False)
        assert turn.max_tokens == 50
        assert latest(store).sampling == {
            "temperature": 0,
            "top_p": 0.9,
            "top_k": 7,
            "min_p": 0.2,
            "max_tokens": 50,
            "context": 512,
            "overflow": "stop",
            "thinking": False,
        }


async def test_nothing_chosen_is_nothing_asked_for(opened: Opener, store: Store) -> None:
    async with opened() as window:
        turn = await asked(window)
        assert (turn.sampling, turn.reading, turn.max_tokens) == (SamplingOptions(), Reading(), None)
        assert latest(store).sampling == {}


async def test_a_change_is_in_force_at_the_next_answer(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window)
        window.app.settings = Settings(generation=settings(temperature=0.3))
        assert (await asked(window)).sampling.temperature == 0.3
        store.tune(store.conversations()[0].id, settings(temperature=0.1, repetition_penalty=1.2, seed=4))
        assert (await asked(window)).sampling == SamplingOptions(temperature=0.1, repetition_penalty=1.2, seed=4)


async def test_each_of_two_models_answers_with_its_own_settings(opened: Opener, store: Store) -> None:
    store.keep_model_settings(STARTER.name, settings(temperature=0.1))
    store.keep_model_settings(LARGER.name, settings(temperature=0.9))
    async with opened() as window:
        await asked(window)
        await window.command(f"/compare {LARGER.name}")
        await window.until(lambda: len(window.pool.turns) == 2)
        assert [turn.sampling.temperature for turn in window.pool.turns] == [0.1, 0.9]
        window.pool.turns[-1].finish()
        await window.ended()


async def begun(conductor: Conductor, window: Window, **chosen: object) -> FakeTurn:
    """The turn of a new conversation that begins with what was chosen for it."""
    turns = len(window.pool.turns)
    await conductor.send(None, "Hello?", STARTER, **chosen)
    await window.until(lambda: len(window.pool.turns) > turns)
    window.pool.turns[-1].finish()
    await window.ended()
    return window.pool.turns[-1]


async def test_a_new_conversation_keeps_what_was_chosen_for_it(opened: Opener, store: Store) -> None:
    store.keep_model_settings("starter", settings(top_k=3))
    async with opened(settings=Settings(system_prompt="Be kind.")) as window:
        turn = await begun(window.app.conductor, window, settings=settings(top_p=0.5), system_prompt="Be brief.")
        assert (turn.sampling, turn.messages[0].content) == (SamplingOptions(top_p=0.5, top_k=3), "Be brief.")
        kept = store.conversations()[0]
        assert (kept.settings, kept.system_prompt) == (settings(top_p=0.5), "Be brief.")
        assert (await begun(window.app.conductor, window)).messages[0].content == "Be kind."
        assert (await begun(window.app.conductor, window, system_prompt="")).messages[0].role == "user"


async def test_a_temporary_chat_has_the_settings_of_its_model_too(opened: Opener, store: Store) -> None:
    store.keep_model_settings("starter", settings(temperature=0.2))
    async with opened() as window:
        turn = await begun(window.app.conductor, window, temporary=True, settings=settings(top_k=2))
        assert turn.sampling == SamplingOptions(temperature=0.2, top_k=2)
        assert not store.conversations()


async def test_an_answer_goes_on_with_what_is_in_force_now_but_reasons_as_it_began(
    opened: Opener, store: Store
) -> None:
    async with opened(settings=Settings(generation=settings(temperature=1, thinking=True))) as window:
        await asked(window)
        conversation = store.conversations()[0].id
        store.tune(conversation, settings(temperature=0, max_tokens=9, thinking=False))
        await window.command("/continue")
        await window.until(lambda: len(window.pool.turns) == 2)
        turn = window.pool.turns[-1]
        assert (turn.sampling.temperature, turn.max_tokens, turn.reading.thinking) == (0, 9, True)
        turn.restate()
        turn.finish()
        await window.ended()
        assert latest(store).sampling == {"temperature": 0, "max_tokens": 9, "thinking": True}
        assert (await asked(window)).reading.thinking is False


async def test_a_look_into_an_answer_uses_what_that_was_written_with(opened: Opener, store: Store) -> None:
    async with opened(settings=Settings(generation=settings(temperature=0.7, context=300, thinking=False))) as window:
        await asked(window)
        window.app.settings = Settings()
        await window.command("/why")
        await window.until(lambda: "temperature 0.7" in window.page)
        assert window.pool.looked == [(SamplingOptions(temperature=0.7), Reading(context=300, thinking=False))]


async def test_the_count_and_the_meter_are_of_the_context_that_was_chosen(opened: Opener, store: Store) -> None:
    conversation = converse(store, "One?", "Two.")
    store.tune(conversation, settings(context=512))
    async with opened() as window:
        await window.until(lambda: "ctx 512 / 8,192" in window.page)  # that answer was written with all of it
        window.composer.load_text("And now?")
        await window.until(lambda: "of 512" in window.page)
        await asked(window)
        assert "/ 512" in window.page
        store.tune(conversation, settings(context=512, overflow="rolling"))
        await asked(window)
        assert "/ 8,192" in window.page


async def test_on_the_empty_page_it_is_counted_as_it_would_be_sent(opened: Opener, store: Store) -> None:
    async with opened(settings=Settings(system_prompt="Be very kind.", generation=settings(context=300))) as window:
        await window.until(lambda: window.pool.known)
        count = window.app.conductor.count
        counted = await count(STARTER, None, (), "one two", ())
        assert counted is not None and (counted.tokens, counted.context) == (5, 300)
        counted = await count(STARTER, None, (), "one two", (), settings=settings(context=400), system_prompt="Hush.")
        assert counted is not None and (counted.tokens, counted.context) == (3, 400)
