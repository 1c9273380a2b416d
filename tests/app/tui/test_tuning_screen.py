"""How conversations are answered, chosen at the window: for one, for a model, from the library, from a preset."""

import msgspec
import pytest
from textual.command import CommandList, CommandPalette

from app.chat.store import GenerationSettings, Preset, Store, SystemPrompt
from app.settings import Settings
from app.tui.screens.form import Form
from app.tui.screens.generation import TuningScreen
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import LARGER, converse

CAREFUL = Preset("Careful", LARGER.name, "Think twice.", GenerationSettings(temperature=0.1, top_k=20))
TEACHER = SystemPrompt("Teacher", "Explain as to a child.\nUse pictures.")


async def tuning(window: Window, typed: str = "/tune") -> Form:
    """Open the form by its command."""
    await window.command(typed)
    await window.until(lambda: isinstance(window.app.screen, Form))
    await window.pilot.pause()
    screen = window.app.screen
    assert isinstance(screen, Form)
    return screen


async def press(window: Window, *keys: str) -> None:
    await window.pilot.press(*keys)
    await window.pilot.pause()


async def take(window: Window, *keys: str) -> None:
    """Press keys that lead to a list, and take what it shows first."""
    await press(window, *keys)
    await window.until(lambda: isinstance(window.app.screen, CommandPalette))
    await window.until(lambda: window.app.screen.query_one(CommandList).option_count)
    await press(window, "down", "enter")
    await window.until(lambda: not isinstance(window.app.screen, CommandPalette))
    await window.pilot.pause()


async def answered(window: Window, question: str) -> None:
    await window.ask(question)
    window.pool.turns[-1].finish()
    await window.ended()


async def test_what_is_chosen_for_a_conversation_is_kept_and_asked_with(opened: Opener, store: Store) -> None:
    conversation = converse(store, "One?", "Two.")
    store.tune(conversation, GenerationSettings(top_p=0.9, seed=4))
    async with opened() as window:
        await tuning(window)
        assert "This conversation: One?" in window.page and "0.9" in window.page
        await press(window, *"Kind", "down", *"0.3", "down", "ctrl+u", "ctrl+s")
        kept = store.conversation(conversation)
        assert kept.system_prompt == "Kind" and kept.settings == GenerationSettings(temperature=0.3, seed=4)
        await answered(window, "Three?")
        turn = window.pool.turns[-1]
        assert turn.messages[0].content == "Kind" and turn.sampling.temperature == 0.3 and turn.sampling.seed == 4


async def test_a_choice_waits_on_the_empty_page_for_the_conversation_it_becomes(opened: Opener, store: Store) -> None:
    async with opened(settings=Settings(system_prompt="From the settings.")) as window:
        await tuning(window)
        assert "The next conversation" in window.page and "From the settings." in window.page
        await press(window, "ctrl+end", "end", *"OK", "tab", *"0.3", "ctrl+s")
        assert store.conversations() == []
        await answered(window, "One?")
        first = store.conversations()[0]
        assert first.system_prompt == "From the settings.OK"
        assert first.settings == GenerationSettings(temperature=0.3)
        await window.command("/new")
        await answered(window, "Two?")
        second = store.conversations()[0]
        assert second.system_prompt == "From the settings." and second.settings == GenerationSettings()


async def test_what_is_chosen_for_a_temporary_chat_is_never_on_disk(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.command("/temporary")
        await tuning(window)
        await press(window, *"Psst", "ctrl+s")
        await answered(window, "One?")
        assert window.pool.turns[-1].messages[0].content == "Psst"
        await window.command("/new")
        await answered(window, "Two?")
        assert len(store.conversations()) == 1 and len(window.pool.turns[-1].messages) == 1


async def test_the_tally_counts_what_the_conversation_will_begin_with(opened: Opener) -> None:
    async with opened() as window:
        await tuning(window)
        await press(window, *"a b c", "ctrl+s")
        await window.pilot.press("d")
        await window.until(lambda: "4 tokens" in window.page)


async def test_what_holds_where_nothing_is_chosen_is_named_with_whose_it_is(opened: Opener, store: Store) -> None:
    store.keep_model_settings("starter", GenerationSettings(temperature=0.4))
    program = Settings(generation=GenerationSettings(temperature=0.5, top_k=7))
    async with opened(settings=program) as window:
        await window.until(lambda: window.pool.known)
        await tuning(window)
        for said in ("0.4, for all with starter", "7, for all models", "8,192, the checkpoint's own"):
            assert said in window.page
        await press(window, "ctrl+o")
        assert "All conversations with starter" in window.page and "8,192, the checkpoint's own" in window.page
        await press(window, "ctrl+u", "ctrl+s")
        assert store.model_settings("starter") == GenerationSettings()
        assert isinstance(window.app.screen, TuningScreen) and "0.5, for all models" in window.page


async def test_settings_of_a_model_are_chosen_by_its_name(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await tuning(window, "/defaults qwen")
        assert f"All conversations with {LARGER.name}" in window.page
        await press(window, *"0.2", "ctrl+s")
        assert store.model_settings(LARGER.name) == GenerationSettings(temperature=0.2)
        await tuning(window, "/defaults")
        assert "All conversations with starter" in window.page


async def test_a_model_whose_template_cannot_be_asked_to_think_says_so(opened: Opener) -> None:
    async with opened() as window:
        await window.until(lambda: window.pool.known)
        await tuning(window)
        assert "not with this model" in window.page


@pytest.mark.soak
async def test_system_prompts_are_kept_used_and_removed(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.command("/system")
        assert "No system prompt is kept yet" in window.notices
        await tuning(window)
        await press(window, "ctrl+l", "k")
        assert "it is empty" in window.page
        await press(window, "escape", *"Kind", "ctrl+l", "k", *"K", "enter")
        assert store.system_prompts() == [SystemPrompt("K", "Kind")]
        store.keep_system_prompt(TEACHER)
        store.remove_system_prompt("K")
        await take(window, "ctrl+l", "u")
        assert "Use pictures." in window.page
        await press(window, "ctrl+s")
        assert window.app.chat.room.tuning.system_prompt == TEACHER.text
        await tuning(window)
        await take(window, "ctrl+l", "r")
        assert store.system_prompts() == []


async def test_a_system_prompt_is_taken_by_its_name(opened: Opener, store: Store) -> None:
    conversation = converse(store, "One?", "Two.")
    for prompt in (TEACHER, SystemPrompt("Terse", "Be brief.")):
        store.keep_system_prompt(prompt)
    async with opened() as window:
        await window.command("/system teach")
        assert store.conversation(conversation).system_prompt == TEACHER.text
        window.composer.load_text("/system te ")  # which both are called
        await take(window, "enter")
        assert store.conversation(conversation).system_prompt in (TEACHER.text, "Be brief.")


async def test_a_preset_is_kept_and_taken_up_with_its_model(opened: Opener, store: Store) -> None:
    conversation = converse(store, "One?", "Two.")
    async with opened() as window:
        await tuning(window)
        await press(window, *"Go", "tab", *"0.5", "ctrl+t", "k", "M", "enter")
        assert store.presets() == [Preset("M", "starter", "Go", GenerationSettings(temperature=0.5))]
        store.remove_preset("M")
        store.keep_preset(CAREFUL)
        await take(window, "ctrl+t", "u")
        assert "Think twice." in window.page and "0.1" in window.page and "20" in window.page
        await press(window, "ctrl+s")
        kept = store.conversation(conversation)
        assert (kept.system_prompt, kept.settings) == (CAREFUL.system_prompt, CAREFUL.settings)
        assert window.app.shelf.chosen is not None and window.app.shelf.chosen.name == LARGER.name


@pytest.mark.parametrize("here", [True, False])
async def test_a_preset_typed_by_its_name_begins_the_next_conversation(
    opened: Opener, store: Store, here: bool
) -> None:
    store.keep_preset(CAREFUL if here else msgspec.structs.replace(CAREFUL, model="gone"))
    async with opened() as window:
        await window.command("/preset careful")
        await answered(window, "One?")
        begun = store.conversations()[0]
        assert (begun.system_prompt, begun.settings) == (CAREFUL.system_prompt, CAREFUL.settings)
        assert begun.model == (LARGER.name if here else "starter")
        assert ("gone, the preset's model, is not here" in window.notices) is not here


async def test_a_conversation_that_is_gone_meanwhile_is_said(opened: Opener, store: Store) -> None:
    conversation = converse(store, "One?", "Two.")
    async with opened() as window:
        await press(window, "ctrl+t", "t")  # by its key, from among the messages
        await window.until(lambda: isinstance(window.app.screen, TuningScreen))
        store.delete(conversation)
        await press(window, "x", "ctrl+s")
        await window.until(lambda: window.notices)
        assert window.app.screen is window.app.chat and window.app.is_running


async def test_the_title_says_where_a_conversation_is_answered_in_a_way_of_its_own(
    opened: Opener, store: Store
) -> None:
    converse(store, "Plain?", "Yes.")
    tuned = converse(store, "Own?", "Yes.")
    store.tune(tuned, GenerationSettings(seed=0))
    async with opened() as window:
        assert "Own?  tuned" in window.page
        await window.command("/new")
        assert "New conversation" in window.page and "tuned" not in window.page
        await tuning(window)
        await press(window, *"Kind", "ctrl+s")
        assert "New conversation  tuned" in window.page
        await answered(window, "Three?")
        assert "Three?  tuned" in window.page
        await window.command("/new")
        assert "tuned" not in window.page
