"""The settings at the window: shown as they are, kept in the file, in force at once."""

from pathlib import Path

import pytest

from app.settings import FIELDS, Paths, Settings, load_settings
from app.tui.screens.settings import MistakesScreen, SettingsScreen
from tests.app.tui.conftest import Opener, Window


@pytest.fixture
def file(places: Paths) -> Path:
    """The settings as a person wrote them."""
    file = places.settings
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# my own\nlarge_paste = 500  # small\nmystery = 1\n")
    return file


async def shown(window: Window) -> SettingsScreen:
    await window.command("/settings")
    await window.until(lambda: isinstance(window.app.screen, SettingsScreen))
    await window.pilot.pause()
    screen = window.app.screen
    assert isinstance(screen, SettingsScreen)
    return screen


async def test_what_is_changed_is_kept_in_the_file_and_in_force_at_once(opened: Opener, file: Path) -> None:
    async with opened(settings=load_settings(file)[0], size=(200, 60)) as window:
        await shown(window)
        for field in FIELDS:
            assert field.label in window.page
        assert "500" in window.page and "Downloads" in window.page and "the checkpoint's own" in window.page
        await window.pilot.press("right", "down", "down", "down", "ctrl+u", *"900", "ctrl+s")
        await window.until(lambda: window.app.settings.large_paste == 900)
        assert window.app.theme == window.app.settings.theme == "textual-light"
        assert window.composer.large_paste == 900
        written = file.read_text()
        assert "# my own" in written and "large_paste = 900  # small" in written and "mystery = 1" in written
        assert load_settings(file)[0] == window.app.settings
        await shown(window)
        await window.pilot.press("down", "down", "down", "ctrl+u", "ctrl+s")
        await window.until(lambda: window.app.settings.large_paste == Settings().large_paste)
        assert "large_paste" not in file.read_text()


async def test_what_a_variable_decides_is_shown_and_stays(
    opened: Opener, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUIETLY_THEME", "nord")
    async with opened(settings=load_settings(file)[0]) as window:
        await shown(window)
        assert "Nord · set by QUIETLY_THEME" in window.page
        await window.pilot.press("right", "ctrl+s")  # on the first that can be changed: reasoning
        await window.until(lambda: window.app.settings.reasoning == "open")
        assert window.app.theme == "nord" and "theme" not in file.read_text()


async def test_a_file_that_is_broken_is_said_and_left_alone(opened: Opener, file: Path) -> None:
    file.write_text("large_paste = = 5\n")
    async with opened() as window:
        await shown(window)
        await window.pilot.press("right", "ctrl+s")
        await window.until(lambda: "line 1 is not TOML" in window.notices)
        assert file.read_text() == "large_paste = = 5\n" and window.app.settings == Settings()


MISTAKES = tuple(f"setting_{number} is no setting and does nothing." for number in range(1, 13))


@pytest.mark.parametrize("size", [(60, 18), (140, 40)])
async def test_of_many_mistakes_the_first_are_said_above_the_composer_and_all_are_at_hand(
    opened: Opener, size: tuple[int, int]
) -> None:
    async with opened(settings=Settings(keys={"answer.stopp": "x"}), mistakes=MISTAKES, size=size) as window:
        await window.until(lambda: "13 mistakes in the settings" in window.page)
        assert MISTAKES[0] in window.page and "more: /settings has them under Mistakes…" in window.page
        assert "Ask anything" in window.page and "setting_12" not in window.page
        await shown(window)
        await window.pilot.press(*["shift+tab"] * 2, "enter")
        await window.until(lambda: isinstance(window.app.screen, MistakesScreen) and MISTAKES[0] in window.page)
        await window.pilot.press("end")
        await window.until(lambda: "answer.stopp" in window.page)
        await window.pilot.press("escape")
        assert isinstance(window.app.screen, SettingsScreen)


async def test_a_single_mistake_is_said_whole(opened: Opener) -> None:
    async with opened(mistakes=MISTAKES[:1]) as window:
        await window.until(lambda: window.notices == MISTAKES[0])


async def test_without_a_mistake_there_is_nothing_to_look_up(opened: Opener) -> None:
    async with opened() as window:
        await shown(window)
        assert "Mistakes" not in window.page


async def test_leaving_the_settings_writes_nothing(opened: Opener, file: Path) -> None:
    before = file.read_bytes()
    async with opened(settings=load_settings(file)[0]) as window:
        await shown(window)
        await window.pilot.press("escape")
        assert window.app.screen is window.app.chat and file.read_bytes() == before
