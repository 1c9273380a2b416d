"""Around the talk: conversations, keys, the palette, exports, odd sizes, hostile names, unforeseen errors."""

from pathlib import Path

import pytest
from rich.cells import cell_len
from textual import events
from textual.geometry import Offset
from textual.screen import Screen

from app.chat.store import Store
from app.errors import QuietlyError
from app.settings import load_settings, paths
from app.tui.actions import ACTIONS
from app.tui.screens.asking import AskLine
from app.tui.screens.help import HelpScreen, help_text
from app.tui.screens.refusal import RefusalApp
from app.tui.widgets.composer import ENTER_BREAKS, Composer
from app.tui.widgets.sidebar import ConversationList, Sidebar
from tests.app.tui.conftest import Opener
from tests.app.tui.window import BROKEN, STARTER, FakeLibrary, a_model, converse

HOSTILE = "\x1b]0;owned\x07[red]x[/] [/nope] [@click=app.quit]y[/] \u202egnp.exe\nsecond"


async def test_the_last_conversation_is_open_again_and_the_others_are_listed(opened: Opener, store: Store) -> None:
    converse(store, "An older question", "An older answer")
    converse(store, "What is the capital of France?", "Paris.")
    async with opened() as window:
        await window.until(lambda: "Paris." in window.page)
        assert "An older question" in window.page
        assert "▸ What is the capital" in window.page


async def test_a_new_conversation_exists_with_its_first_question(opened: Opener, store: Store) -> None:
    converse(store, "Old", "Answer")
    async with opened() as window:
        await window.pilot.press("ctrl+n")
        await window.until(lambda: "New conversation" in window.page)
        assert len(store.conversations()) == 1
        await window.ask("Brand new?")
        assert [one.title for one in store.conversations()] == ["Brand new?", "Old"]
        window.pool.turns[0].finish()
        await window.ended()


async def test_drafts_wait_in_their_conversations(opened: Opener, store: Store) -> None:
    first = converse(store, "First", "Answer")
    second = converse(store, "Second", "Answer")
    async with opened() as window:
        window.composer.load_text("half a thought")
        window.app.chat.desks.conversations.open(first)
        assert window.composer.text == ""
        window.app.chat.desks.conversations.open(second)
        assert window.composer.text == "half a thought"


async def test_rename_by_key_delete_and_undo(opened: Opener, store: Store) -> None:
    kept = converse(store, "Kept", "Answer")
    gone = converse(store, "Gone", "Answer")
    async with opened() as window:
        await window.pilot.press("ctrl+r")
        await window.until(lambda: isinstance(window.app.screen, AskLine))
        await window.pilot.press(*["backspace"] * 4, *"Renamed", "enter")
        assert store.conversation(gone).title == "Renamed"
        await window.until(lambda: "▸ Renamed" in window.page)
        before = store.branch(gone)
        window.app.chat.query_one(Sidebar).focus_conversations()
        await window.pilot.press("d")
        await window.until(lambda: len(store.conversations()) == 1)
        assert [one.id for one in store.conversations()] == [kept]
        assert window.pool.forgotten == [f"conversation-{gone}"]
        assert "/undo brings it back" in window.notices
        await window.command("/undo")
        await window.until(lambda: len(store.conversations()) == 2)
        assert store.branch(gone) == before and store.conversation(gone).title == "Renamed"
        await window.until(lambda: "▸ Renamed" in window.page)


async def test_a_conversation_can_be_deleted_while_it_is_answered(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("Never mind")
        await window.command("/delete")
        await window.ended()
        assert store.conversations() == [] and window.pool.turns[0].stopped
        await window.command("/undo")
        await window.until(store.conversations)
        (question, answer) = store.branch(store.conversations()[0].id)
        assert (question.content, answer.status) == ("Never mind", "interrupted")


async def test_export_writes_a_new_file_each_time_and_says_where(
    opened: Opener, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = tmp_path / "Downloads"
    downloads.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    converse(store, "What is the capital of France?", "**Paris**.")
    async with opened() as window:
        await window.until(lambda: "Paris" in window.page)
        await window.pilot.press("ctrl+e")
        await window.pilot.press("ctrl+s")
        files = sorted(downloads.iterdir())
        assert len(files) == 2 and all("**Paris**." in file.read_text() for file in files)
        assert str(downloads) in window.notices


async def test_letters_and_enter_in_one_burst_are_sent_whole(opened: Opener, store: Store) -> None:
    async with opened() as window:
        app = window.app
        for letter in "hello":
            app.post_message(events.Key(letter, letter))
        app.post_message(events.Key("enter", "\r"))
        for letter in "next":
            app.post_message(events.Key(letter, letter))
        await window.until(lambda: window.pool.turns)
        await window.pilot.pause()
        assert store.branch(store.conversations()[0].id)[0].content == "hello"
        assert window.composer.text == "next"
        window.pool.turns[0].finish()
        await window.ended()


async def test_new_lines_and_pastes_grow_the_composer(opened: Opener) -> None:
    async with opened() as window:
        await window.pilot.press("a", "ctrl+j", "b", "shift+enter", "c")
        assert window.composer.text == "a\nb\nc"
        await window.pilot.pause()
        assert window.composer.size.height == 3
        window.composer.post_message(events.Paste("one\r\ntwo\rthree\x1b[31m" + "\nmore" * 30))
        await window.until(lambda: "three" in window.composer.text)
        assert "\r" not in window.composer.text and "\x1b" not in window.composer.text
        await window.pilot.pause()
        assert window.composer.size.height == 10
        assert not window.pool.turns


async def test_help_opens_by_key_and_by_word(opened: Opener) -> None:
    async with opened() as window:
        for keys in (["f1"], ["ctrl+underscore"], [*"/help", "enter"]):
            await window.pilot.press(*keys)
            await window.until(lambda: isinstance(window.app.screen, HelpScreen))
            assert "Ctrl+J" in window.page
            await window.pilot.press("escape")
        assert window.composer.text == ""


@pytest.mark.parametrize("width", [44, 66, 80])
def test_what_keys_do_stands_whole_in_a_column_of_its_own(width: int) -> None:
    lines = help_text(ENTER_BREAKS, width).plain.split("\n")
    column = lines[1].index("Send")
    assert all(cell_len(line) <= width and not line[column - 2 : column].strip() for line in lines if line[:2] == "  ")
    says = " ".join(" ".join(line[column:] for line in lines).split())
    assert all(action.label.rstrip("…") in says for action in ACTIONS) and "quits" in says


async def test_the_palette_has_our_commands_and_switches_models(opened: Opener) -> None:
    async with opened() as window:
        await window.pilot.press("ctrl+p")
        await window.pilot.press(*"switch")
        await window.until(lambda: "Switch model…" in window.page)
        await window.pilot.press("down", "enter")
        await window.until(lambda: "Qwen2.5 7B Instruct" in window.page and "4.0 GiB" in window.page)
        await window.pilot.press(*"qwen", "enter")
        await window.until(lambda: window.app.shelf.chosen and window.app.shelf.chosen.name.startswith("Qwen"))


async def test_a_theme_is_kept_for_the_next_start(opened: Opener) -> None:
    async with opened() as window:
        window.app.theme = "textual-light"
        await window.until(lambda: load_settings(paths().settings)[0].theme == "textual-light")
    async with opened(settings=load_settings(paths().settings)[0]) as window:
        assert window.app.theme == "textual-light"


async def test_hostile_names_are_shown_as_letters(opened: Opener, store: Store) -> None:
    converse(store, HOSTILE, "[bold]answer[/] \x1b[2J", model=HOSTILE, title=HOSTILE)
    hostile = a_model(HOSTILE, Path("/models/hostile"))
    async with opened(FakeLibrary(STARTER, hostile)) as window:
        await window.until(lambda: "[bold]answer[/]" in window.page)
        for key in ("ctrl+o", "ctrl+l", "ctrl+r"):
            await window.pilot.press(key)
            await window.until(lambda: len(window.app.screen_stack) > 1)
            await window.until(lambda: "[red]x[/]" in window.page)
            assert not {"\x1b", "\x07", "\u202e"} & set(window.page)
            await window.pilot.press("escape")
        await window.command("/delete")
        await window.until(lambda: "[red]x[/]" in window.notices)
        assert not {"\x1b", "\x07", "\u202e"} & set(window.notices)


async def test_a_model_with_a_problem_says_it_when_chosen(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, BROKEN)) as window:
        assert "!" in window.page
        window.app.chat.desks.models.choose(str(BROKEN.path))
        await window.until(lambda: "broken has no config.json" in window.notices)
        assert window.app.shelf.chosen == STARTER


async def test_the_sidebar_covers_a_narrow_window_and_leaves_after_a_choice(opened: Opener, store: Store) -> None:
    converse(store, "First", "The first answer")
    converse(store, "Second", "The second answer")
    async with opened(size=(60, 18)) as window:
        await window.until(lambda: "The second answer" in window.page)
        assert "Conversations" not in window.page
        await window.pilot.press("ctrl+b")
        await window.until(lambda: isinstance(window.app.focused, ConversationList))
        await window.pilot.press("down", "enter")
        await window.until(lambda: "The first answer" in window.page)
        assert "Conversations" not in window.page
        assert isinstance(window.app.focused, Composer)


@pytest.mark.parametrize("size", [(10, 3), (39, 9), (300, 80)])
async def test_any_size_can_be_talked_in(opened: Opener, store: Store, size: tuple[int, int]) -> None:
    async with opened(size=size) as window:
        await window.pilot.press("ctrl+b", "ctrl+b")
        await window.ask("Hi")
        window.pool.turns[0].say("Hello")
        window.pool.turns[0].finish()
        await window.ended()
        await window.pilot.press("f1", "escape")


async def test_a_click_on_a_conversation_opens_it(opened: Opener, store: Store) -> None:
    converse(store, "First", "The first answer")
    converse(store, "Second", "The second answer")
    async with opened() as window:
        await window.until(lambda: "The second answer" in window.page)
        await window.pilot.click(ConversationList, offset=(6, 2))
        await window.until(lambda: "The first answer" in window.page)


async def test_a_mouse_press_on_what_is_being_replaced_is_let_go(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as window:

        def gone(self: Screen[None], x: int, y: int) -> tuple[None, Offset | None]:
            raise AttributeError("'NoneType' object has no attribute 'region'")

        monkeypatch.setattr(Screen, "get_widget_and_offset_at", gone)
        await window.pilot.mouse_down(offset=(50, 10))
        await window.pilot.mouse_up(offset=(50, 10))
        monkeypatch.undo()
        await window.pilot.press("a")
        assert window.composer.text == "a"


async def test_an_unforeseen_error_is_one_sentence_and_a_report_without_words(
    opened: Opener, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    secret = " ".join(["A", "private", "question"])

    class SecretError(Exception):
        pass

    with pytest.raises(SecretError):
        async with opened() as window:
            await window.ask(secret)
            window.pool.turns[0].say("Half")
            await window.until(lambda: "Half" in window.page)
            app = window.app
            monkeypatch.setattr(app, "panic", lambda text: (said.append(text.plain), app._close_messages_no_wait()))

            def broken() -> None:
                raise SecretError(secret)

            app.chat.call_later(broken)
            await window.until(lambda: said)
    (report,) = paths().logs.glob("crash-*.txt")
    assert str(report) in said[0] and "Traceback" not in said[0]
    text = report.read_text()
    assert "SecretError" in text and "broken" in text and secret not in text
    assert (store.branch(store.conversations()[0].id)[1].content) == "Half"


async def test_an_error_in_background_work_is_a_notice(opened: Opener) -> None:
    async with opened() as window:

        async def fails() -> None:
            raise QuietlyError("The disk is full; make room.")

        async def breaks() -> None:
            raise ValueError("private")

        window.app.run_worker(fails(), exit_on_error=False)
        window.app.run_worker(breaks(), exit_on_error=False)
        await window.until(lambda: "A report without your words" in window.notices)
        assert "The disk is full" in window.notices and "private" not in window.notices


async def test_a_store_that_refuses_keeps_the_text_in_the_composer(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise QuietlyError("conversations.sqlite3 cannot grow because the disk is full; free some space.")

    async with opened() as window:
        monkeypatch.setattr(window.store, "ask", full)
        window.composer.load_text("Precious")
        await window.pilot.press("enter")
        await window.until(lambda: "disk is full" in window.notices)
        assert window.composer.text == "Precious"


async def test_a_database_that_cannot_be_read_is_one_sentence_on_a_whole_window() -> None:
    app = RefusalApp("/data/conversations.sqlite3 is damaged; it was left as it is, restore it from a backup.")
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.pause()
        lines = app.screen._compositor.render_strips(app.size)
        page = " ".join("".join(segment.text for segment in line) for line in lines)
        assert "conversations.sqlite3 is damaged" in page and "Nothing was changed" in page
        await pilot.press("x")
        assert app._exit


async def test_enter_while_the_palette_is_still_searching_leaves_it_once(opened: Opener) -> None:
    async with opened() as window:
        for _ in range(10):
            await window.pilot.press("ctrl+p")
            for key in (*"pin or", "enter", "enter", "enter"):
                window.app.post_message(events.Key(key, key if len(key) == 1 else "\r"))
            await window.pilot.pause()
            assert window.app.return_code is None
            await window.pilot.press("escape", "escape")
            await window.until(lambda: window.app.screen is window.app.chat)
