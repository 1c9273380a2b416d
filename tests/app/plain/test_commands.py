"""What can be typed beside questions: conversations, models, settings; by the same names as in the window."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from app.chat.store import GenerationSettings, Preset, Store, SystemPrompt
from app.plain.commands import NAMES
from app.plain.room import GivenUp
from app.settings import Settings, paths, private_folder
from app.tui.actions import TYPED
from tests.app.living import keep_read
from tests.app.plain.conftest import Opener
from tests.app.tui.window import LARGER, STARTER, converse
from tests.waiting import PATIENCE


def test_what_the_window_has_too_has_the_same_name() -> None:
    assert NAMES - TYPED.keys() == {"/open", "/read", "/paste", "/versions"}


async def test_every_command_can_be_done_and_is_explained(talking: Opener) -> None:
    async with talking() as talk:
        assert set(talk.plain.acts) == NAMES
        explained = await talk.hears("/help")
        assert all(f"\n{name}" in explained for name in NAMES)
        assert "There is no /hlep" in await talk.hears("/hlep")


async def test_it_opens_with_the_latest_and_goes_anywhere(talking: Opener, store: Store) -> None:
    first = converse(store, "Where is Riga?", "In the north.")
    second = converse(store, "Where is Lviv?", "In the west.")
    async with talking() as talk:
        assert talk.plain.room.current == second
        listed = await talk.hears("/open")
        assert listed.index("Lviv") < listed.index("Riga") and f"{first}: Where is Riga?, Today." in listed
        assert f"This is conversation {first}, “Where is Riga?”, with 2 messages." in await talk.hears(f"/open {first}")
        assert await talk.hears("/read 1") == "2. starter: In the north.\n"
        assert "as /read 2" in await talk.hears("/read all")
        assert "not here" in await talk.hears("/open 99")
        assert "new conversation" in await talk.hears("/new")


async def test_words_are_found_where_they_were_said(talking: Opener, store: Store) -> None:
    first = converse(store, "Where is Riga?", "In the north.")
    async with talking() as talk:
        assert f"{first}: Where is Riga?. starter: In the north." in await talk.hears("/search north")
        assert "Nothing was found." in await talk.hears("/search south")


async def test_a_conversation_is_renamed_exported_deleted_and_comes_back(
    talking: Opener, store: Store, tmp_path
) -> None:
    made = converse(store, "Where is Riga?", "In the north.")
    async with talking(Settings(export_folder=str(tmp_path), export_format="json")) as talk:
        assert "is called “Riga” now" in await talk.hears("/rename Riga")
        assert "Exported to" in await talk.hears("/export")
        assert "Riga.md" in await talk.hears("/export markdown")
        assert "one of markdown, json, html" in await talk.hears("/export pdf")
        talk.typed.type("/delete")
        await talk.until("Type delete to delete “Riga” for good: ")
        assert "Nothing was deleted." in await talk.hears("no")
        talk.typed.type("/delete")
        await talk.until("for good: ")
        assert "Deleted “Riga”." in await talk.hears("delete")
        assert made not in [record.id for record in store.conversations()]
        assert f"conversation-{made}" in talk.pool.forgotten
        assert "One conversation was imported." in await talk.hears(f"/import {tmp_path / 'Riga.json'}")
        assert "one was here already" in await talk.hears(f"/import {tmp_path / 'Riga.md'}")
        assert "no export" in await talk.hears(f"/import {__file__}")


async def test_what_models_have_read_goes_where_its_conversation_is_gone(talking: Opener, store: Store) -> None:
    folder = private_folder(paths().sessions)
    stays, strays = (keep_read(folder, number) for number in (converse(store, "Where is Riga?", "In the north."), 99))
    async with talking():
        pass
    assert stays.exists() and not strays.exists()


async def test_of_a_temporary_chat_nothing_is_written(talking: Opener, store: Store) -> None:
    async with talking() as talk:
        assert "nothing is written to disk" in await talk.hears("/temporary")
        await talk.answered("A secret?", "None.")
        assert "not stored" in await talk.hears("/open")
        assert store.conversations() == []


async def test_the_model_that_answers_next_is_chosen_by_a_part_of_its_name(talking: Opener, store: Store) -> None:
    async with talking() as talk:
        assert "starter, 93.5 MiB, answers next." in await talk.hears("/model")
        assert f"{LARGER.name} answers next." in await talk.hears("/model qwen")
        assert "No model here is named like gpt" in await talk.hears("/model gpt")
        turn = await talk.ask("Hello?")
        assert turn.checkpoint == LARGER.path != STARTER.path
        turn.finish()
        await talk.until("You: ")


async def test_settings_are_chosen_for_the_conversation_and_taken_back(talking: Opener, store: Store) -> None:
    async with talking(Settings(generation=GenerationSettings(top_k=9))) as talk:
        assert "temperature: 0.5, for this conversation." in await talk.hears("/tune temperature 0.5")
        assert "top_k: 9, for all models." in await talk.hears("/tune")
        assert "must be a number from 0 to 1" in await talk.hears("/tune top_p 7")
        await talk.hears("/tune seed 3")
        await talk.hears("/tune seed usual")
        turn = await talk.ask("Hello?")
        assert (turn.sampling.temperature, turn.sampling.top_k, turn.sampling.seed) == (0.5, 9, None)
        turn.finish()
        await talk.until("You: ")
        await talk.hears("/tune thinking off")
    assert store.latest().settings == GenerationSettings(temperature=0.5, thinking=False)


async def test_system_prompts_and_presets_are_taken_over(talking: Opener, store: Store) -> None:
    store.keep_system_prompt(SystemPrompt("kind", "Be kind."))
    store.keep_preset(Preset("short", LARGER.name, "Be brief.", GenerationSettings(max_tokens=5)))
    async with talking(Settings(system_prompt="Be calm.")) as talk:
        talk.typed.type("/system")
        await talk.until("The model is told: Be calm.", "kind: Be kind.", "Tell the model: ")
        await talk.hears("")
        await talk.hears("/system kind")
        turn = await talk.ask("Hello?")
        assert turn.messages[0].content == "Be kind."
        turn.finish()
        await talk.until("You: ")
        assert f"short: {LARGER.name}, max_tokens 5, Be brief." in await talk.hears("/preset")
        assert f"{LARGER.name} answers next." in await talk.hears("/preset short")
        turn = await talk.ask("Hello?")
        assert (turn.messages[0].content, turn.max_tokens, turn.checkpoint) == ("Be brief.", 5, LARGER.path)
        turn.finish()
        await talk.until("You: ")


async def test_whom_it_spoke_to_is_said(talking: Opener, ledger) -> None:
    async with talking() as talk:
        assert "Nothing was connected to" in await talk.hears("/connections")
        ledger.note("hub.example:443", "bringing a model", "download", received=2048)
        assert "hub.example:443, bringing a model" in await talk.hears("/connections")


async def test_long_work_says_how_far_it_has_come_and_can_be_given_up(talking: Opener, monkeypatch) -> None:
    monkeypatch.setattr("app.plain.room.SELDOM", 0.0)
    begun, interrupted = threading.Event(), threading.Event()

    def work(report: Callable[[int, int], None]) -> None:
        report(1, 400)
        begun.set()
        interrupted.wait(PATIENCE)
        report(2, 400)

    async with talking() as talk:
        working = asyncio.create_task(talk.plain.room.aside("Importing", work))
        await asyncio.to_thread(begun.wait, PATIENCE)
        talk.plain.interrupt()
        interrupted.set()
        with pytest.raises(GivenUp):
            await working
        await talk.until("Importing 1 of 400.\n")
