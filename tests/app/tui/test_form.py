"""A form by keys and by mouse: every kind of field, what does not fit, what is settled elsewhere."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Button, Static

from app.fields import Field
from app.tui.screens.asking import Confirm
from app.tui.screens.form import Form
from app.tui.screens.menu import Menu
from app.tui.widgets.controls import Choice, Line, Text
from tests.app.tui.test_panels import HOSTILE, Desk, click, desk

FIELDS = (
    Field("sure", "First", "Sure", "Whether it is so", "switch"),
    Field("thinking", "First", "Thinking", "Whether it thinks", "switch", optional=True),
    Field(
        "when", "First", "When full", "What then", "choice", (("oldest", "old go"), ("stop", "it ends"), ("roll", "on"))
    ),
    Field("count", "Second", "Count", "How many there are", "integer", low=0, high=9000, unit="tokens", optional=True),
    Field("heat", "Second", "Heat", "How hot it is", "number", low=0, high=2, optional=True),
    Field("folder", "Second", "Folder", "Where it goes", "line"),
    Field("told", "Third", "Told", "What it is told", "text"),
)
VALUES = {"sure": True, "when": "stop", "heat": 0.7, "folder": "~/here", "told": "Be kind.\nBe brief."}


class Filling:
    """A form on the screen, and what it came back with."""

    def __init__(self, app: Desk, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def again(self) -> None:
        """Open the same form once more."""
        self.app.push_screen(Form("Things", FIELDS, VALUES), self.results.append)
        await self.pilot.pause()

    async def on(self, label: str) -> None:
        """Go to the field with this label."""
        place = next(place for place, field in enumerate(FIELDS) if field.label == label)
        self.app.screen.query(".control")[place].focus()
        await self.pilot.pause()

    @property
    def label(self) -> str:
        """The label of the row in use."""
        focused = self.app.screen.focused
        assert isinstance(focused, Choice | Line | Text) and focused.parent is not None
        return str(focused.parent.query_one(".label", Static).render())

    @property
    def about(self) -> str:
        return str(self.app.screen.query_one("#about", Static).render())

    @property
    def results(self) -> list[object]:
        return self.app.results


Opener = Callable[..., AbstractAsyncContextManager[Filling]]


@pytest.fixture
def filling() -> Opener:
    """Open a form: `async with filling() as form`."""

    @asynccontextmanager
    async def opened(screen: Form | None = None, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Filling]:
        app = desk(screen or Form("Things", FIELDS, VALUES))
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield Filling(app, pilot)

    return opened


ROUNDS: tuple[tuple[tuple[str, ...], dict[str, object]], ...] = (
    # What is pressed in each of the fields, from the first to the last.
    (
        ("space", "right", "left", "4 0 0", "ctrl+u 1 . 5", "x", "end !"),
        {
            "sure": False,
            "thinking": True,
            "when": "oldest",
            "count": 400,
            "heat": 1.5,
            "folder": "~/herex",
            "told": "Be kind.!\nBe brief.",
        },
    ),
    (
        ("enter", "left", "right right", "4 , 0 0 0", "ctrl+u 1 , 5", "ctrl+u", "shift+end delete"),
        {
            "sure": False,
            "thinking": False,
            "when": "oldest",
            "count": 4000,
            "heat": 1.5,
            "folder": None,
            "told": "\nBe brief.",
        },
    ),
    (("space space", "right delete", "delete", "4 backspace", "0 0", "x backspace", "end"), {}),
)


@pytest.mark.soak
async def test_what_was_changed_comes_back_and_nothing_else(filling: Opener) -> None:
    async with filling() as form:
        for fields, changes in ROUNDS:
            for field, keys in zip(FIELDS, fields, strict=True):
                await form.on(field.label)
                await form.pilot.press(*keys.split())
            await form.press("ctrl+s")
            assert form.results.pop() == changes
            await form.again()


async def test_letters_just_typed_are_saved_with_the_rest(filling: Opener) -> None:
    async with filling() as form:
        await form.on("Folder")
        await form.pilot.press("a", "b", "c", "ctrl+s")
        await form.pilot.pause()
        assert form.results == [{"folder": "~/hereabc"}]


WRONG = (
    ("Count", "1.5", "Count must be a whole number from 0 to 9,000 tokens, not 1.5."),
    ("Heat", "5", "Heat must be a number from 0 to 2, not 5.0."),
    ("Heat", "nan", "Heat must be a number from 0 to 2, not nan."),
    ("Heat", "hot", "Heat must be a number from 0 to 2, not hot."),
)


async def test_what_does_not_fit_is_said_and_not_saved(filling: Opener) -> None:
    async with filling() as form:
        for label, typed, said in WRONG:
            await form.on(label)
            await form.press("ctrl+u", *typed)
            assert form.about == f"! {said}" and form.label == f"{label} !"
        await form.on("Folder")
        await form.press("ctrl+s")
        assert form.results == [] and form.label == "Count !" and form.about == f"! {WRONG[0][2]}"
        await form.press("ctrl+u", "down", "ctrl+u", "1", "ctrl+s")
        assert form.results == [{"heat": 1.0}]


async def test_another_check_than_the_fields_own_has_the_last_word(filling: Opener) -> None:
    async with filling(
        Form("Things", FIELDS, VALUES, check=lambda _, value: "Not on a Sunday." if value == 7 else "")
    ) as form:
        await form.on("Count")
        await form.press("7", "ctrl+s")
        assert form.results == [] and form.about == "! Not on a Sunday."


async def test_leaving_changes_nothing_and_asks_where_something_was_changed(filling: Opener) -> None:
    async with filling() as form:
        await form.press("escape")
        assert form.results == [None]
    async with filling() as form:
        await form.press("space", "escape")
        assert isinstance(form.app.screen, Confirm) and form.results == []
        await form.press("n")
        assert form.results == [] and form.label == "Sure *"
        await form.press("escape", "y")
        assert form.results == [None]


async def test_what_holds_where_nothing_is_chosen_stands_there_and_can_be_returned_to(filling: Opener) -> None:
    async with filling(Form("Things", FIELDS, VALUES, unset=lambda id: f"{id}, as the checkpoint has it")) as form:
        assert "thinking, as the checkpoint has it" in form.app.page
        assert "count, as the checkpoint has it" in form.app.page
        assert "heat, as the checkpoint has it" not in form.app.page
        await form.on("Heat")
        await form.press("ctrl+u")
        assert "heat, as the checkpoint has it" in form.app.page
        await form.press("up", "up", "up", "space", "delete", "ctrl+s")
        assert form.results == [{"heat": None}]


async def test_a_choice_is_taken_from_a_menu(filling: Opener) -> None:
    async with filling() as form:
        await form.on("When full")
        await form.press("enter")
        assert isinstance(form.app.screen, Menu)
        await form.press("up", "enter")
        await click(form.pilot, "‹ on ›")
        await form.pilot.pause()
        await form.press("ctrl+s")
        assert form.results == [{"sure": False, "when": "oldest"}]


async def test_what_is_settled_elsewhere_is_shown_with_the_reason_and_passed_over(filling: Opener) -> None:
    locked = {"sure": "set by QUIETLY_SURE", "count": "there is none"}
    async with filling(Form("Things", FIELDS, VALUES, locked=locked)) as form:
        assert "on · set by QUIETLY_SURE" in form.app.page and "there is none" in form.app.page
        assert form.label == "Thinking"
        passed = []
        while isinstance(form.app.screen.focused, Choice | Line | Text):
            passed.append(form.label)
            await form.press("tab")
        assert passed == ["Thinking", "When full", "Heat", "Folder", "Told"]


@pytest.mark.parametrize("size", [(60, 18), (100, 30), (200, 50)])
async def test_every_field_is_reached_by_the_arrows_and_says_what_it_does(
    filling: Opener, size: tuple[int, int]
) -> None:
    async with filling(size=size) as form:
        for field in FIELDS:
            assert form.label == field.label and form.about == field.says
            control = form.app.screen.focused
            assert control is not None and form.app.screen.query_one("#rows").region.overlaps(control.region)
            await form.press("down")
        await form.press("down")  # out of the text, in whose first line it was
        assert isinstance(form.app.screen.focused, Button)
        await form.press("right", "left", "enter")
        assert form.results == [{}]


@pytest.mark.parametrize(
    ("width", "said"), [(60, "Ctrl+S save · Esc leave"), (44, "Ctrl+S save"), (32, ""), (80, "Ctrl+S save · Esc leave")]
)
async def test_the_keys_are_said_whole_or_not_at_all(filling: Opener, width: int, said: str) -> None:
    async with filling(size=(width, 18)) as form:
        foot = next(line for line in form.app.page.split("\n") if "Leave" in line)
        assert " ".join(foot.split("Leave")[1].split()) == said


async def test_why_something_is_settled_elsewhere_is_said_whole_where_there_is_little_room(filling: Opener) -> None:
    async with filling(
        Form("Things", FIELDS, VALUES, locked={"folder": "set by QUIETLY_THE_FOLDER"}), (60, 40)
    ) as form:
        assert "~/here · set by" in form.app.page and "QUIETLY_THE_FOLDER" in form.app.page


async def test_the_button_that_leaves_is_clicked(filling: Opener) -> None:
    async with filling(size=(60, 18)) as form:
        await click(form.pilot, "Leave")
        await form.pilot.pause()
        assert form.results == [None]


async def test_hostile_values_are_shown_safely_and_stay_as_they_are(filling: Opener) -> None:
    values = {"sure": True, "folder": HOSTILE, "told": HOSTILE, "when": HOSTILE}
    async with filling(Form(HOSTILE, FIELDS, values, unset=lambda _: HOSTILE)) as form:
        assert "\x1b" not in form.app.page and "\u202e" not in form.app.page and "[bold]東京" in form.app.page
        await form.press("space", "ctrl+s")
        assert form.results == [{"sure": False}]


async def test_what_is_pasted_is_made_safe(filling: Opener) -> None:
    async with filling(Form("Things", FIELDS, {"sure": True, "when": "stop"})) as form:
        for label in ("Folder", "Told"):
            await form.on(label)
            assert form.app.screen.focused is not None
            form.app.screen.focused.post_message(Paste("a\x1b[31m\r\nb"))
            await form.pilot.pause()
        await form.press("ctrl+s")
        assert form.results == [{"folder": "a[31m b", "told": "a[31m\nb"}]


async def test_a_second_wish_to_leave_does_not_end_what_lies_below(filling: Opener) -> None:
    async with filling() as form:
        await form.press("space", "escape")
        screen = form.app.screen_stack[-2]
        assert isinstance(screen, Form)
        for _ in range(2):  # as an answer that comes late would
            screen.dismiss({})
        await form.pilot.pause()
        assert isinstance(form.app.screen, Confirm) and form.results == []
        await form.press("y")
        assert form.results == [None] and len(form.app.screen_stack) == 1
