"""The composer and what stands around it: keys as terminals send them, earlier prompts, commands, pastes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Paste
from textual.message import Message
from textual.pilot import Pilot

from app.assets import asset
from app.tui.driver import PasteParser
from app.tui.widgets.attachments import AttachmentBar, AttachmentRow
from app.tui.widgets.completion import Command, matching
from app.tui.widgets.composer import LARGE, Composer
from app.tui.widgets.composer_area import ComposerArea
from tests.waiting import until

COMMANDS = (
    Command("/help", "Keys and what they do"),
    Command("/find", "Find in this conversation", "word"),
    Command("/new", "Begin with an empty page"),
    Command("/rename", "Give it another title", "title"),
)


class Page(App[None]):
    """The foot of the page alone, with what it posts kept."""

    CSS_PATH = asset("styles/composer.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "note('escape')"), Binding("alt+m", "note('alt+m')")]

    def __init__(self) -> None:
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (20, "-tall")]
        self.posted: list[Message] = []
        self.pressed: list[str] = []
        self.area = ComposerArea()

    def compose(self) -> ComposeResult:
        yield self.area

    def action_note(self, key: str) -> None:
        self.pressed.append(key)

    def keep(self, message: Message) -> None:
        self.posted.append(message)

    on_composer_submitted = on_composer_large_paste = on_composer_paths_dropped = keep
    on_attachment_bar_remove_asked = keep


class Desk:
    def __init__(self, app: Page, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot
        self.area = app.area
        self.composer = self.area.composer
        self.composer.commands = COMMANDS

    async def send(self, *pieces: str) -> None:
        """What a terminal sends, through the parser that the window reads it with."""
        parser = PasteParser()
        for piece in pieces:
            for event in parser.feed(piece):
                self.app.post_message(event)
                await self.pilot.pause()

    async def paste(self, text: str) -> None:
        self.composer.post_message(Paste(text))
        await self.pilot.pause()

    def write(self, text: str) -> None:
        self.composer.load_text(text)
        self.composer.move_cursor(self.composer.document.end)

    @property
    def text(self) -> str:
        return self.composer.text

    @property
    def submitted(self) -> list[str]:
        return [message.text for message in self.app.posted if isinstance(message, Composer.Submitted)]

    @property
    def offered(self) -> list[str]:
        """The commands on the screen, the highlighted one marked."""
        shown = self.area.completions
        return [
            ("> " if place == shown.highlighted else "") + str(option.prompt).split()[0]
            for place, option in enumerate(shown.options)
            if shown.display
        ]


@asynccontextmanager
async def opened(size: tuple[int, int] = (60, 30)) -> AsyncIterator[Desk]:
    app = Page()
    async with app.run_test(size=size) as pilot:
        desk = Desk(app, pilot)
        desk.composer.focus()
        await until(lambda: desk.area.tally.is_attached)
        await pilot.pause()
        yield desk


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (60, "Ask anything   (Enter sends, Ctrl+J begins a new line)"),
        (50, "Ask anything (Enter sends, Ctrl+J new line)"),
        (40, "Ask anything"),
    ],
)
async def test_what_stands_in_the_empty_composer_fits_into_its_one_line(width: int, said: str) -> None:
    async with opened((200, 30)) as desk:
        await desk.pilot.resize_terminal(width, 30)
        await until(lambda: desk.composer.size.width < width)
        await desk.pilot.pause()
        assert str(desk.composer.placeholder) == said and desk.composer.size.height == 1


# --- keys, by the bytes that terminals send for them ---


@pytest.mark.parametrize("typed", ["👩\u200d🚀", "می\u200cخواهم", "שלום", "東京"])
async def test_every_script_and_what_is_joined_can_be_typed(typed: str) -> None:
    async with opened() as desk:
        await desk.send(typed)
        assert desk.text == typed


LEFT_WORD, RIGHT_WORD = ("\x1bb", "\x1b[1;3D", "\x1b\x1b[D", "\x1b[98;3u"), ("\x1bf", "\x1b[1;3C", "\x1b\x1b[C")


@pytest.mark.parametrize("sent", LEFT_WORD)
async def test_option_left_goes_a_word_back(sent: str) -> None:
    async with opened() as desk:
        desk.write("one two")
        await desk.send(sent)
        assert desk.composer.cursor_location == (0, 4) and desk.text == "one two"


@pytest.mark.parametrize("sent", RIGHT_WORD)
async def test_option_right_goes_a_word_on(sent: str) -> None:
    async with opened() as desk:
        desk.composer.load_text("one two")
        await desk.send(sent)
        assert desk.composer.cursor_location[1] in (3, 4) and desk.text == "one two"


@pytest.mark.parametrize("sent", ["\x1bB", "\x1b[1;4D", "\x1b[98;4u"])
async def test_option_shift_left_selects_a_word(sent: str) -> None:
    async with opened() as desk:
        desk.write("one two")
        await desk.send(sent)
        assert desk.composer.selected_text == "two" and desk.text == "one two"


@pytest.mark.parametrize("sent", ["\x1bF", "\x1b[1;4C"])
async def test_option_shift_right_selects_a_word(sent: str) -> None:
    async with opened() as desk:
        desk.composer.load_text("one two")
        await desk.send(sent)
        assert desk.composer.selected_text.strip() == "one" and desk.text == "one two"


@pytest.mark.parametrize("sent", ["\x1b\x7f", "\x1b[127;3u", "\x17"])
async def test_option_backspace_deletes_the_word_before(sent: str) -> None:
    async with opened() as desk:
        desk.write("one two")
        await desk.send(sent)
        assert desk.text == "one "


@pytest.mark.parametrize("sent", ["\x1bd", "\x1b[3;3~", "\x1b[100;3u"])
async def test_option_delete_and_option_d_delete_the_word_behind(sent: str) -> None:
    async with opened() as desk:
        desk.composer.load_text("one two")
        await desk.send(sent)
        assert desk.text == " two"


@pytest.mark.parametrize("sent", ["\n", "\x1b\r", "\x1b[13;2u", "\x1b[13;3u"])
async def test_a_new_line_by_every_key_that_means_one(sent: str) -> None:
    async with opened() as desk:
        desk.write("one")
        await desk.send(sent, "x")
        assert desk.text == "one\nx" and not desk.submitted


async def test_the_shells_line_keys() -> None:
    async with opened() as desk:
        desk.write("one two")
        await desk.send("\x01", "a", "\x05", "z")
        assert desk.text == "aone twoz"
        await desk.send("\x1bb", "\x0b")
        assert desk.text == "aone "
        await desk.send("\x15")
        assert desk.text == ""


async def test_option_with_another_letter_is_the_windows_and_no_letter() -> None:
    async with opened() as desk:
        await desk.send("\x1bm", "\x1bq")
        assert desk.text == "" and desk.app.pressed == ["alt+m"]


# --- what was asked before ---


async def test_up_walks_back_and_down_returns_to_what_was_being_typed() -> None:
    async with opened() as desk:
        desk.composer.prompts = ["newest", "older"]
        desk.write("half a thought")
        await desk.pilot.press("left", "up")
        assert desk.text == "newest"
        await desk.pilot.press("up", "up", "up")
        assert desk.text == "older"
        await desk.pilot.press("down", "down")
        assert desk.text == "half a thought"
        await desk.pilot.press("x")
        assert desk.text == "half a thoughxt"


async def test_an_edited_prompt_is_kept_while_walking_and_changes_nothing_that_was_asked() -> None:
    async with opened() as desk:
        desk.composer.prompts = prompts = ["newest", "older"]
        await desk.pilot.press("up", "!", "up", "down")
        assert desk.text == "newest!"
        await desk.pilot.press("enter")
        assert desk.submitted == ["newest!"] and prompts == ["newest", "older"]
        desk.composer.take("newest!")
        await desk.pilot.press("up")
        assert desk.text == "newest"


async def test_the_arrows_walk_from_the_first_and_the_last_row_on_the_screen_alone() -> None:
    async with opened(size=(40, 30)) as desk:
        desk.composer.prompts = ["asked"]
        wrapped = "words " * 20
        desk.write(wrapped)
        rows = desk.composer.wrapped_document.height
        assert rows > 2
        await desk.pilot.press(*["up"] * (rows - 1))
        assert desk.text == wrapped
        await desk.pilot.press("up")
        assert desk.text == "asked"
        await desk.pilot.press("down")
        assert desk.text == wrapped and desk.composer.cursor_location[1] < 40


async def test_a_prompt_of_several_rows_is_walked_past_from_its_near_end() -> None:
    async with opened() as desk:
        desk.composer.prompts = ["one\ntwo\nthree", "older"]
        await desk.pilot.press("up", "up")
        assert desk.text == "older"
        await desk.pilot.press("down")
        assert desk.text == "one\ntwo\nthree" and desk.composer.cursor_location == (2, 5)


async def test_without_earlier_prompts_the_arrows_are_arrows() -> None:
    async with opened() as desk:
        desk.write("one")
        await desk.pilot.press("up")
        assert desk.composer.cursor_location == (0, 0) and desk.text == "one"
        await desk.pilot.press("down")
        assert desk.composer.cursor_location == (0, 3)


async def test_recalling_a_prompt_can_be_undone() -> None:
    async with opened() as desk:
        desk.composer.prompts = ["asked"]
        await desk.pilot.press("a", "up", "ctrl+z")
        assert desk.text == "a"


# --- commands ---


def test_the_command_itself_comes_first_then_what_it_begins_then_what_it_is_part_of() -> None:
    commands = [Command(name, "") for name in ("/rename", "/names", "/name", "/help")]
    assert [command.name for command in matching(commands, "/name")] == ["/name", "/names", "/rename"]
    assert [command.name for command in matching(commands, "/NAMES")] == ["/names"]
    assert not matching(commands, "/x")


async def test_a_slash_offers_the_commands_and_enter_sends_the_highlighted_one() -> None:
    async with opened() as desk:
        await desk.pilot.press("slash")
        assert desk.offered == ["> /help", "/find", "/new", "/rename"]
        await desk.pilot.press("down", "down")
        assert desk.offered[2] == "> /new"
        await desk.pilot.press("enter")
        await desk.pilot.pause()
        assert desk.submitted == ["/new"] and desk.text == "/new"


async def test_enter_right_behind_the_letters_takes_what_they_mean() -> None:
    async with opened() as desk:
        await desk.pilot.press("slash", "n", "e", "enter")
        assert desk.submitted == ["/new"]


@pytest.mark.parametrize("key", ["tab", "right", "enter"])
async def test_a_command_with_an_argument_is_written_out_and_typed_on(key: str) -> None:
    async with opened() as desk:
        await desk.pilot.press("slash", "f", key, "s", "e", "a")
        assert desk.text == "/find sea" and not desk.offered and not desk.submitted
        await desk.pilot.press("enter")
        assert desk.submitted == ["/find sea"]


async def test_escape_closes_the_list_alone_until_another_word_is_begun() -> None:
    async with opened() as desk:
        await desk.pilot.press("slash", "escape")
        assert desk.offered == [] and desk.text == "/" and desk.app.pressed == []
        await desk.pilot.press("h")
        assert desk.offered == []
        await desk.pilot.press("escape")
        assert desk.app.pressed == ["escape"]
        await desk.pilot.press("backspace", "backspace", "slash")
        assert desk.offered
        await desk.pilot.press("backspace")
        assert desk.offered == []


async def test_what_is_no_beginning_of_a_command_is_sent_as_it_is() -> None:
    async with opened() as desk:
        for text in ("/etc/hosts", "/help me", " /help", "a/help", "/help\nme"):
            desk.write(text)
            await desk.pilot.pause()
            assert not desk.offered, text
            await desk.pilot.press("enter")
            assert desk.submitted[-1] == text


async def test_a_click_takes_a_command() -> None:
    async with opened() as desk:
        await desk.pilot.press("slash")
        await desk.pilot.pause()
        await desk.pilot.click(desk.area.completions, offset=(5, 2))
        await desk.pilot.pause()
        assert desk.submitted == ["/new"] and desk.app.focused is desk.composer


async def test_tab_leaves_the_composer_where_nothing_is_completed() -> None:
    async with opened() as desk:
        desk.area.attachments.show([AttachmentRow(1, "a.txt", "")])
        await desk.pilot.pause()
        await desk.pilot.press("a", "tab")
        assert desk.text == "a" and isinstance(desk.app.focused, AttachmentBar)


async def test_an_earlier_prompt_that_looks_like_a_command_does_not_stop_the_walk() -> None:
    async with opened() as desk:
        desk.composer.prompts = ["/help", "older"]
        await desk.pilot.press("up")
        assert desk.text == "/help" and not desk.offered
        await desk.pilot.press("up")
        assert desk.text == "older"


# --- pastes ---


async def test_a_long_paste_is_offered_and_not_inserted() -> None:
    async with opened() as desk:
        desk.write("before")
        await desk.paste("x" * LARGE)
        assert len(desk.text) == len("before") + LARGE
        desk.write("before")
        await desk.paste("line\r\n" * LARGE)
        (message,) = desk.app.posted
        assert isinstance(message, Composer.LargePaste)
        assert message.text == "line\n" * LARGE and desk.text == "before"


async def test_a_long_text_of_the_windows_own_clipboard_is_offered_too() -> None:
    async with opened() as desk:
        desk.app._clipboard = "word " * LARGE
        await desk.pilot.press("ctrl+v")
        await desk.pilot.pause()
        assert desk.text == "" and isinstance(desk.app.posted[0], Composer.LargePaste)


async def test_dropped_files_are_told_from_text(tmp_path: Path) -> None:
    spaced = tmp_path / "two words.txt"
    spaced.write_text("x")
    async with opened() as desk:
        await desk.paste(str(spaced).replace(" ", "\\ ") + " ")
        await until(lambda: desk.app.posted)
        (message,) = desk.app.posted
        assert isinstance(message, Composer.PathsDropped)
        assert message.paths == (spaced,) and desk.text == ""
        await desk.paste(f"{tmp_path}/missing.txt")
        await until(lambda: desk.text)
        assert desk.text == f"{tmp_path}/missing.txt" and len(desk.app.posted) == 1


# --- what stands around it ---


async def test_nothing_takes_a_row_that_has_nothing_to_say() -> None:
    async with opened() as desk:
        assert desk.area.size.height == 3
        desk.area.banner.show("Editing your message")
        desk.area.attachments.show([AttachmentRow(1, "a.txt", "3 tokens")])
        desk.area.tally.show("12 tokens")
        await desk.pilot.pause()
        assert desk.area.size.height == 5 and "12 tokens" in str(desk.composer.border_subtitle)
        desk.area.tally.show("This does not fit: the 3 oldest messages will not be read.", True)
        await desk.pilot.pause()
        assert desk.area.size.height == 6 + 1 and not desk.composer.border_subtitle
        desk.area.banner.show("")
        desk.area.attachments.show([])
        desk.area.tally.show("")
        await desk.pilot.pause()
        assert desk.area.size.height == 3


async def test_eight_rows_are_left_to_the_conversation_on_a_low_terminal() -> None:
    async with opened(size=(60, 18)) as desk:
        desk.area.banner.show("Editing your message · Esc leaves it as it was")
        desk.area.attachments.show([AttachmentRow(key, f"{key}.txt", "3 tokens") for key in range(9)])
        desk.area.tally.show("This does not fit: the 3 oldest messages will not be read.", True)
        desk.write("row\n" * 30)
        await desk.pilot.pause()
        assert desk.area.size.height <= 9
        desk.area.tally.show("")
        desk.write("/")
        await until(lambda: desk.offered)
        await desk.pilot.pause()
        assert desk.area.size.height <= 9


async def test_a_tally_that_finds_no_room_in_the_border_takes_a_row() -> None:
    async with opened(size=(100, 30)) as desk:
        words = "1,204 tokens of 8,192 in this conversation"
        desk.area.tally.show(words)
        assert not desk.area.tally.display
        await desk.pilot.resize_terminal(40, 30)
        await until(lambda: desk.area.tally.display)
        await desk.pilot.resize_terminal(100, 30)
        await until(lambda: not desk.area.tally.display)


async def test_what_is_said_before_the_first_frame_is_shown_after_it() -> None:
    app = Page()
    app.area.banner.show("Editing your message")
    app.area.attachments.show([AttachmentRow(1, "a.txt", "3 tokens")])
    app.area.tally.show("Too long", True)
    async with app.run_test(size=(60, 30)):
        await until(lambda: app.area.size.height == 6)


def removed(posted: Sequence[Message]) -> list[int]:
    return [message.key for message in posted if isinstance(message, AttachmentBar.RemoveAsked)]


async def test_attachments_are_removed_by_key_and_by_a_click_on_the_cross() -> None:
    async with opened() as desk:
        bar = desk.area.attachments
        bar.show([AttachmentRow(7, "a.txt", "3 tokens"), AttachmentRow(8, "\x1b[31m滑动窗口.pdf", "")])
        await desk.pilot.pause()
        shown = str(bar.render())
        assert "a.txt · 3 tokens ×" in shown and "[31m滑动窗口.pdf ×" in shown and "\x1b" not in shown
        bar.focus()
        await desk.pilot.press("right", "delete")
        await desk.pilot.click(bar, offset=(shown.index("×"), 0))
        await desk.pilot.click(bar, offset=(2, 0))
        await desk.pilot.pause()
        assert removed(desk.app.posted) == [8, 7]
        bar.show([])
        await desk.pilot.pause()
        assert desk.app.focused is desk.composer


async def test_attachments_that_find_no_room_are_counted_and_can_be_walked_to() -> None:
    async with opened(size=(60, 18)) as desk:
        bar = desk.area.attachments
        bar.show([AttachmentRow(key, f"file number {key}.txt", "3 tokens") for key in range(9)])
        await desk.pilot.pause()
        assert bar.size.height == 1 and "more" in str(bar.render())
        bar.focus()
        await desk.pilot.press(*["right"] * 8)
        await desk.pilot.pause()
        assert "▸file number 8.txt" in str(bar.render())


async def test_an_editor_where_the_terminal_cannot_be_handed_over_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VISUAL", "true")
    async with opened() as desk:
        desk.write("kept")
        desk.composer.action_edit_outside()
        await until(lambda: desk.app._notifications)
        assert "cannot be handed" in next(iter(desk.app._notifications)).message
        assert desk.text == "kept"
