"""What each setting does at the window, from its start and when it is changed while the window stands."""

import time
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from app.chat import backups
from app.chat.store import GenerationSettings, Store
from app.conducting.titles import LARGE_ENOUGH
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Finished, SamplingOptions
from app.settings import FIELDS, Settings, load_settings, paths, private_folder, save_settings
from app.tui.app import _pool, _with_old_theme
from app.tui.screens.menu import Menu
from tests.app.living import keep_read
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import STARTER, FakePool, converse
from tests.checkpoints import speaking_checkpoint

MONTHS_AGO = time.time() - 100 * 86400


def thoughtful(store: Store, question: str = "Why?") -> None:
    """A conversation with an answer that was thought about."""
    made = store.create()
    begun = store.begin_answer(made.id, store.ask(made.id, None, question).id, "starter", {})
    store.finish(begun.id, "complete", answer="Because.", reasoning="Let me think about it.")


async def answered(window: Window, question: str) -> None:
    await window.ask(question)
    window.pool.turns[-1].say("Yes.")
    window.pool.turns[-1].finish()
    await window.ended()


def change(window: Window, **changed: object) -> None:
    """Change settings as the settings screen does: in the file, then in the window."""
    save_settings(paths().settings, {id.replace("__", "."): value for id, value in changed.items()})
    settings, sentences = load_settings(paths().settings)
    assert sentences == []
    window.app.use(settings)


def test_no_setting_is_without_a_test_here() -> None:
    tested = Path(__file__).read_text()
    assert [field.id for field in FIELDS if f"{field.id.rpartition('.')[2]}=" not in tested] == []


# --- looks ------------------------------------------------------------------------------------------------


async def test_the_theme_is_as_it_is_set_and_changes_at_once(opened: Opener) -> None:
    async with opened(settings=Settings(theme="nord")) as window:
        assert window.app.theme == "nord"
        change(window, theme="gruvbox")
        assert window.app.theme == "gruvbox"


async def test_a_theme_chosen_from_the_list_is_set_and_nothing_else_of_the_file_changes(opened: Opener) -> None:
    file = paths().settings
    file.parent.mkdir(parents=True)
    file.write_text("# mine\nnotify_after = 5 # soon\n")
    async with opened(settings=load_settings(file)[0]) as window:
        await window.command("/theme")
        await window.pilot.press(*"dracula")
        await window.until(lambda: "gruvbox" not in window.page)
        await window.pilot.press("enter")
        await window.until(lambda: load_settings(file)[0].theme == "dracula")
        assert window.app.settings == Settings(theme="dracula", notify_after=5.0)
    assert file.read_text() == '# mine\nnotify_after = 5 # soon\ntheme = "dracula"\n'


async def test_a_theme_that_cannot_be_kept_is_in_force_and_said(opened: Opener) -> None:
    paths().settings.mkdir(parents=True)
    async with opened() as window:
        window.app.theme = "nord"
        await window.until(lambda: str(paths().settings) in window.notices)
        assert window.app.theme == "nord"


async def test_every_theme_there_is_can_be_set(opened: Opener) -> None:
    (field,) = (field for field in FIELDS if field.id == "theme")
    async with opened() as window:
        assert {name for name, _ in field.choices} == window.app.available_themes.keys()


async def test_reasoning_is_folded_or_whole_also_of_what_is_being_written(opened: Opener, store: Store) -> None:
    thoughtful(store)
    async with opened(settings=Settings(reasoning="open")) as window:
        await window.until(lambda: "Let me think about it." in window.page)
        change(window, reasoning="folded")
        await window.until(lambda: "Thought" in window.page and "Let me think" not in window.page)
        await window.ask("And why that?")
        window.pool.turns[-1].say("Thinking again of it.", "reasoning")
        window.pool.turns[-1].say("So it is.")
        await window.until(lambda: "So it is." in window.page)
        assert "Thinking again" not in window.page
        change(window, reasoning="open")
        await window.until(lambda: "Let me think about it." in window.page and "Thinking again" in window.page)
        window.pool.turns[-1].finish()
        await window.ended()
        assert "Thinking again" in window.page


# --- writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["ctrl+j", "alt+enter", "shift+enter"])
async def test_where_enter_begins_a_line_other_keys_send(opened: Opener, key: str) -> None:
    async with opened(settings=Settings(enter_sends=False)) as window:
        await window.until(lambda: "Ctrl+J sends, Enter begins a new line" in window.page)
        await window.pilot.press("a", "enter", "b")
        assert window.composer.text == "a\nb" and window.pool.turns == []
        await window.pilot.press(key)
        await window.until(lambda: window.pool.turns)
        assert window.pool.turns[0].messages[-1].content == "a\nb"


async def test_enter_takes_a_command_that_is_offered_whatever_else_it_does(opened: Opener) -> None:
    async with opened(settings=Settings(enter_sends=False)) as window:
        await window.pilot.press(*"/help", "enter")
        await window.until(lambda: window.app.screen is not window.app.chat)
        assert "Ctrl+J, Shift+Enter,  Send " in window.page and "    Alt+Enter  " in window.page


async def test_what_enter_does_changes_at_once_and_gives_way_to_the_persons_own_keys(opened: Opener) -> None:
    async with opened(settings=Settings(enter_sends=False)) as window:
        change(window, enter_sends=None)
        await window.until(lambda: "Enter sends" in window.page)
        await window.pilot.press("a", "enter")
        await window.until(lambda: window.pool.turns)
        window.pool.turns[0].say("Yes.")
        window.pool.turns[0].finish()
        await window.ended()
        window.app.use(Settings(enter_sends=False, keys={"composer.send": "ctrl+x"}))
        await window.until(lambda: "Ctrl+X sends, Enter begins a new line" in window.page)
        await window.pilot.press("b", "enter", "c", "ctrl+x")
        await window.until(lambda: len(window.pool.turns) == 2)
        assert window.pool.turns[1].messages[-1].content == "b\nc"


async def test_keys_change_at_once_and_go_back(opened: Opener, store: Store) -> None:
    converse(store, "Capital of France?", "Paris.")
    async with opened() as window:
        await window.until(lambda: "Paris." in window.page)
        window.app.use(Settings(keys={"conversation.new": "alt+n", "nonsense": "x"}))
        await window.until(lambda: "nonsense" in window.notices)
        await window.pilot.press("ctrl+n")
        assert "Paris." in window.page
        window.app.use(Settings())
        await window.pilot.press("ctrl+n")
        await window.until(lambda: "New conversation" in window.page)


async def test_from_how_many_characters_on_a_paste_is_offered_as_an_attachment(opened: Opener) -> None:
    async with opened(settings=Settings(large_paste=10)) as window:
        window.composer._paste("0123456789")
        assert window.composer.text == "0123456789"
        window.composer._paste("0123456789 and more")
        await window.until(lambda: isinstance(window.app.screen, Menu))
        await window.pilot.press("escape")
        change(window, large_paste=0)
        window.composer.load_text("")
        window.composer._paste("long " * 2000)
        assert len(window.composer.text) == 10_000


async def test_what_is_selected_is_copied_only_where_that_is_wanted(opened: Opener, store: Store) -> None:
    converse(store, "Capital of France?", "Paris.")
    async with opened(settings=Settings(copy_on_select=False)) as window:
        await window.until(lambda: "Paris." in window.page)
        transcript = window.app.chat.room.transcript
        await window.pilot.click(transcript, offset=(4, 1), times=3)
        await window.pilot.pause()
        assert window.app.screen.get_selected_text() and "Copied" not in window.notices
        change(window, copy_on_select=True)
        await window.pilot.click(transcript, offset=(4, 1), times=3)
        await window.until(lambda: "Copied the selection" in window.notices)


# --- conversations ----------------------------------------------------------------------------------------


async def test_new_conversations_are_temporary_and_the_window_opens_with_one(opened: Opener, store: Store) -> None:
    converse(store, "Capital of France?", "Paris.")
    async with opened(settings=Settings(temporary=True)) as window:
        await window.until(lambda: "not stored" in window.page)
        assert "Paris." not in window.page
        await answered(window, "Is this between us?")
        await window.command("/new")
        await window.until(lambda: "New temporary chat" in window.page)
        change(window, temporary=False)
        await window.command("/new")
        await window.until(lambda: "New conversation" in window.page)
    assert [record.title for record in store.conversations()] == ["Capital of France?"]


async def test_after_a_deletion_the_empty_page_is_of_the_kind_that_is_set(opened: Opener, store: Store) -> None:
    converse(store, "Capital of France?", "Paris.")
    async with opened() as window:
        await window.until(lambda: "Paris." in window.page)
        change(window, temporary=True)
        await window.command("/delete")
        await window.until(lambda: "New temporary chat" in window.page)


async def test_a_model_names_conversations_only_where_that_is_wanted(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.conducting.titles.REST", 0.0)
    pool = FakePool()
    pool.parameters = LARGE_ENOUGH
    async with opened(pool=pool, settings=Settings(name_conversations=False)) as window:
        await answered(window, "Why is the sky blue?")
        change(window, name_conversations=True)
        await answered(window, "And the sea?")
        await window.until(lambda: len(pool.turns) == 3)
        assert [turn.session == "title" for turn in pool.turns] == [False, False, True]


async def test_from_how_many_seconds_on_the_end_of_an_answer_is_announced(opened: Opener, store: Store) -> None:
    converse(store, "Another one", "Yes.")
    async with opened(settings=Settings(notify_after=0.001)) as window:
        for announced in (True, False):
            await window.command("/new")
            await window.ask("How long does it take?")
            turn = window.pool.turns[-1]
            await window.command("/new")
            turn.say("Not long.")
            turn.finish()
            await window.ended()
            assert ("Answer ready" in window.notices) is announced
            window.app.clear_notifications()
            change(window, notify_after=0)


async def test_a_new_conversation_begins_with_the_system_prompt_that_is_set(opened: Opener, store: Store) -> None:
    async with opened(settings=Settings(system_prompt="Be brief.")) as window:
        await answered(window, "Capital of France?")
        first = window.pool.turns[0].messages
        assert [(message.role, message.content) for message in first] == [
            ("system", "Be brief."),
            ("user", "Capital of France?"),
        ]
        change(window, system_prompt="Be kind.")
        await answered(window, "And of Spain?")
        assert window.pool.turns[1].messages[0].content == "Be brief."  # it has begun with that one
        await window.command("/new")
        await answered(window, "And of Italy?")
        assert window.pool.turns[2].messages[0].content == "Be kind."


async def test_answers_are_generated_as_it_is_set_for_all_models(opened: Opener, store: Store) -> None:
    chosen = GenerationSettings(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        repetition_penalty=1.1,
        presence_penalty=0.2,
        frequency_penalty=0.1,
        penalty_decay=0.996,
        max_tokens=900,
        context=2048,
        overflow="rolling",
        thinking=False,
    )
    async with opened(settings=Settings(generation=chosen)) as window:
        await answered(window, "Capital of France?")
        change(window, generation__temperature=0, generation__thinking=True)
        await answered(window, "And of Spain?")
    first, second = (one.sampling for one in store.branch(store.conversations()[0].id) if one.role == "assistant")
    assert first == {name: value for name, value in msgspec.structs.asdict(chosen).items() if value is not None}
    assert second == {"temperature": 0.0, "thinking": True}


# --- models -----------------------------------------------------------------------------------------------


async def test_the_model_is_loaded_with_the_window_or_with_the_first_question(opened: Opener) -> None:
    async with opened() as window:
        await window.until(lambda: STARTER.path in window.pool.known)
    async with opened(pool=FakePool(), settings=Settings(load_at_start=False)) as window:
        await window.until(lambda: "starter answers here" in window.page)
        await window.app.workers.wait_for_complete()
        assert window.pool.known == {}
        await answered(window, "Capital of France?")
        assert STARTER.path in window.pool.known


async def test_a_model_that_nobody_asks_is_unloaded_after_the_minutes_that_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, model = Settings(unload_after=0), speaking_checkpoint(tmp_path / "tiny")
    pool = _pool(paths(), lambda: settings)
    assert isinstance(pool, Pool)
    await pool.load(model)
    monkeypatch.setattr(pool, "_clock", lambda: time.monotonic() + 30.5 * 60)
    for minutes, stays in ((0, True), (31, True), (30, False)):
        settings = msgspec.structs.replace(settings, unload_after=minutes)
        pool.look_after()
        assert (pool.loaded(model) is not None) == stays
    await pool.close()


async def test_answers_are_looked_ahead_at_and_drafted_as_it_is_set(tmp_path: Path) -> None:
    model = speaking_checkpoint(tmp_path / "tiny")
    smaller = speaking_checkpoint(tmp_path / "smaller", num_hidden_layers=1)
    settings = Settings()
    pool = _pool(paths(), lambda: settings)
    assert isinstance(pool, Pool)
    for chosen, drafted in (
        (Settings(), True),
        (Settings(lookahead=False), False),
        (Settings(lookahead=False, draft_model=str(smaller)), True),
    ):
        settings, question = chosen, ChatMessage("user", "hello")
        turn = pool.ask(model, [question], session="a", sampling=SamplingOptions(temperature=0), max_tokens=200)
        *_, finished = [event async for event in turn]
        assert isinstance(finished, Finished) and (finished.drafted_tokens > 0) == drafted
        await pool.unload(model)
    await pool.close()


# --- export -----------------------------------------------------------------------------------------------


async def test_exports_go_where_and_as_it_is_set(
    opened: Opener, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    converse(store, "Capital of France?", "Paris.")
    for folder in ("Downloads", "notes", "elsewhere"):
        (tmp_path / folder).mkdir()
    async with opened(settings=Settings(export_format="json")) as window:
        for set_to, folder in ((None, "Downloads"), ("~/notes", "notes"), (str(tmp_path / "elsewhere"), "elsewhere")):
            change(window, export_folder=set_to, export_format="json")
            await window.command("/export")
            await window.until(lambda folder=folder: list((tmp_path / folder).glob("*.json")))
        change(window, export_format=None)
        await window.command("/export")
        await window.until(lambda: list((tmp_path / "elsewhere").glob("*.md")))


# --- keeping ----------------------------------------------------------------------------------------------


async def test_so_many_backups_are_kept(opened: Opener, store: Store) -> None:
    converse(store, "Capital of France?", "Paris.")
    assert store.path is not None
    for day in range(1, 5):
        backups.back_up(store.path, date.today() - timedelta(days=day))
    folder = store.path.parent / "backups"
    async with opened(settings=Settings(backups=3)) as window:
        await window.until(lambda: len(list(folder.glob("*.sqlite3"))) == 3)
        change(window, backups=0)
        await window.until(lambda: not list(folder.glob("*.sqlite3")))


def aged(store: Store, question: str) -> int:
    """A conversation in which nothing was said for a hundred days."""
    made = converse(store, question, "Yes.")
    with store._changing() as connection:
        connection.execute("UPDATE conversations SET updated = ? WHERE id = ?", (MONTHS_AGO, made))
    return made


async def test_what_is_older_than_a_person_wants_is_deleted_when_the_window_opens(opened: Opener, store: Store) -> None:
    for question in ("Long ago", "Longer ago"):
        aged(store, question)
    store.pin(aged(store, "Pinned"), True)
    async with opened() as window:
        await window.until(lambda: "Long ago" in window.page)
        await window.app.workers.wait_for_complete()
        assert len(store.conversations()) == 3
    async with opened(settings=Settings(keep_days=30)) as window:
        await window.until(lambda: "2 conversations were deleted" in window.notices)
        assert [record.title for record in store.conversations()] == ["Pinned"]
        await window.until(lambda: "New conversation" in window.page and "Long ago" not in window.page)


async def test_what_models_have_read_stays_with_its_conversation_and_goes_where_it_is_not_wanted(
    opened: Opener, store: Store
) -> None:
    folder = private_folder(paths().sessions)
    converse(store, "Capital of France?", "Paris.")
    stays, expires, strays = (
        keep_read(folder, number) for number in (store.conversations()[0].id, aged(store, "Long ago"), 99)
    )
    async with opened(settings=Settings(keep_days=30)) as window:
        await window.until(lambda: not expires.exists() and not strays.exists())
        assert stays.exists()
        change(window, keep_read=0)
        await window.until(lambda: not folder.exists())


# --- what was there before themes were settings -----------------------------------------------------------


def test_a_theme_of_earlier_versions_is_taken_over_once(store: Store) -> None:
    file = paths().settings
    store.remember("theme", "nord")
    assert _with_old_theme(Settings(), store, file).theme == "nord"
    assert load_settings(file)[0].theme == "nord"
    save_settings(file, {"theme": None})
    assert _with_old_theme(Settings(), store, file).theme == "textual-dark"


def test_a_theme_that_is_set_stands_over_one_of_earlier_versions(store: Store) -> None:
    store.remember("theme", "nord")
    assert _with_old_theme(Settings(theme="dracula"), store, paths().settings).theme == "dracula"
    assert not paths().settings.exists()
