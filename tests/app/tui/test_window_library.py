"""The library at the window: what is told of each model, and what is done with one."""

import asyncio
import threading
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from app.errors import QuietlyError
from app.library.hub import Found
from app.library.licences import Unagreed, terms
from app.settings import Settings
from app.tui.screens.asking import AskLine, Confirm
from app.tui.screens.menu import Menu
from app.tui.screens.models import ModelsScreen
from app.tui.widgets.model_rows import ModelRows
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import LARGER, STARTER, FakeDownloads, FakeLibrary, FakePool, a_model, converse

QWEN = "mlx-community/Qwen2.5-0.5B-Instruct-4bit"
HALF = a_model(
    "Half-4bit",
    Path("/models/half"),
    "quietly",
    repo="someone/Half-4bit",
    unfinished=(43, 100),
    problem="The download of Half-4bit has not finished: get it again to go on.",
)


async def library(window: Window) -> ModelsScreen:
    """The library, once it knows how everything fits."""
    await window.command("/models")
    await window.until(lambda: isinstance(window.app.screen, ModelsScreen) and "Apple M4" in window.page)
    screen = window.app.screen
    assert isinstance(screen, ModelsScreen)
    return screen


def facts(window: Window) -> str:
    return str(window.app.screen.query_one("#facts", Static).content)


async def to(window: Window, key: str) -> None:
    """Put the cursor on the item with this key."""
    window.app.screen.query_one(ModelRows).point(key)
    await window.pilot.pause()


async def downloading(window: Window) -> FakeDownloads:
    """Begin a download from the library."""
    await library(window)
    await to(window, f"offer:{QWEN}")
    await window.pilot.press("enter", "y")
    downloads = window.library.downloads
    await window.until(lambda: downloads.all)
    return downloads


async def test_all_models_are_listed_with_what_is_known_of_each(opened: Opener) -> None:
    known = a_model(
        "Known",
        Path("/models/known"),
        "lm-studio",
        architecture="qwen2",
        runs="quietly",
        parameters=494_000_000,
        stored="4 bit",
        bits=4.5,
        licence="apache-2.0",
        repo="someone/Known",
    )
    async with opened(FakeLibrary(STARTER, known)) as window:
        converse(window.store, "Hello", "Hi", "Known")
        await library(window)
        await to(window, f"model:{known.path}")
        for said in ("494 M", "4 bit (4.5 bits a weight)", "qwen2, run by Quietly", "apache-2.0", "LM Studio", "Today"):
            assert said in facts(window)
        assert "On this machine" in window.page
        assert "To download" in window.page
        await to(window, f"offer:{QWEN}")
        assert "apache-2.0" in facts(window)
        assert "fits" in facts(window)


async def test_enter_uses_a_model_and_goes_back_to_the_conversation(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, LARGER)) as window:
        await library(window)
        await to(window, f"model:{LARGER.path}")
        await window.pilot.press("enter")
        await window.until(lambda: window.app.shelf.chosen == LARGER and window.app.screen is window.app.chat)


async def test_a_download_is_asked_for_with_its_price_and_told_wherever_models_are(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        downloads = window.library.downloads
        await library(window)
        await to(window, f"offer:{QWEN}")
        await window.pilot.press("enter")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        for said in ("Qwen2.5 0.5B", "MiB", "apache-2.0", QWEN, "goes on from there"):
            assert said in window.page
        await window.pilot.press("y")
        await window.until(lambda: downloads.all)
        downloads.set(QWEN, state="running", done=120 << 20, total=300 << 20, rate=3 << 20, left=60.0)
        await to(window, f"download:{QWEN}")
        for said in ("120 MiB of 300 MiB", "3.0 MiB/s", "1 min"):
            assert said in facts(window)
        await window.pilot.press("escape")
        await window.until(lambda: "40 %" in window.page and "3.0 MiB/s · 1 min" in window.page)
        window.library.found.append(LARGER)
        downloads.arrive(QWEN, LARGER.path)
        await window.until(lambda: "is here" in window.notices and LARGER in window.app.shelf.models)


async def test_a_download_pauses_goes_on_and_is_cancelled_after_a_question(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        downloads = await downloading(window)
        await to(window, f"download:{QWEN}")
        await window.pilot.press("space")
        assert downloads.all[0].state == "paused"
        assert "paused 43 %" in window.page
        await window.pilot.press("space")
        await window.until(lambda: downloads.all[0].state == "running")
        await window.pilot.press("d")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        await window.pilot.press("y")
        await window.until(lambda: not downloads.all)
        assert "43.0 MiB are free again" in window.notices


@pytest.mark.parametrize("agreed", [True, False])
async def test_a_licence_that_restricts_has_to_be_agreed_to(opened: Opener, agreed: bool) -> None:
    openpangu = terms("openpangu")
    assert openpangu is not None
    async with opened(FakeLibrary(STARTER)) as window:
        downloads = await downloading(window)
        downloads.fail(QWEN, Unagreed(QWEN, openpangu))
        await window.until(lambda: "Agree to the licence of Qwen2.5 0.5B?" in window.page)
        for said in ("OPENPANGU MODEL LICENSE", "European Union", "Huawei"):
            assert said in window.page
        await window.pilot.press("y" if agreed else "escape")
        if agreed:
            await window.until(lambda: downloads.agreed and downloads.all[0].state == "running")
        else:
            await window.until(lambda: not downloads.all)
            assert not downloads.agreed


async def test_a_download_that_failed_says_why_and_stays(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        downloads = await downloading(window)
        downloads.fail(QWEN, "The Hub cannot be reached: check the connection.")
        await window.until(lambda: "cannot be reached" in window.notices)
        await to(window, f"download:{QWEN}")
        assert "cannot be reached" in facts(window)
        assert "Go on" in facts(window)


async def test_half_a_download_of_another_day_is_a_paused_one(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, HALF)) as window:
        await window.until(lambda: "paused 43 %" in window.page)
        assert window.page.count("Half-4bit") == 1


async def test_deleting_says_what_becomes_free_and_gives_memory_back_first(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, LARGER)) as window:
        await library(window)
        await to(window, f"model:{STARTER.path}")
        await window.until(lambda: STARTER.path in window.pool.known)
        await window.pilot.press("d")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        assert "93.5 MiB become free" in window.page
        assert str(STARTER.path) in window.page
        await window.pilot.press("y")
        await window.until(lambda: STARTER not in window.app.shelf.models)
        assert window.library.removed == [STARTER]
        assert STARTER.path not in window.pool.known
        assert window.app.shelf.chosen == LARGER


async def test_the_hub_is_searched_for_what_is_typed(opened: Opener) -> None:
    fake = FakeLibrary(STARTER)
    fake.on_hub = (
        Found(
            "someone/Poet-4bit",
            "Poet-4bit",
            "mlx-lm",
            architecture="llama",
            parameters=8_000_000_000,
            bits=4.5,
            size=4_500_000_000,
            weights=4_490_000_000,
            gated=True,
        ),
    )
    async with opened(fake) as window:
        await library(window)
        await window.pilot.press("slash", *"poet")
        assert "Search the Hub for “poet”" in window.page
        await window.pilot.press("enter")
        await window.until(lambda: "Poet-4bit" in window.page)
        assert fake.searched == ["poet"]
        await to(window, "found:someone/Poet-4bit")
        assert "Gated" in facts(window)
        assert "run by mlx-lm" in facts(window)


async def test_a_hub_out_of_reach_is_said_and_everything_here_stays_usable(opened: Opener) -> None:
    fake = FakeLibrary(STARTER, LARGER)
    fake.on_hub = QuietlyError("The Hub cannot be reached: check the connection.")
    async with opened(fake) as window:
        await library(window)
        await window.pilot.press("slash", *"poet", "enter")
        await window.until(lambda: "cannot be reached" in str(window.app.screen.query_one("#said", Static).content))
        await window.pilot.press("escape")
        await to(window, f"model:{LARGER.path}")
        await window.pilot.press("enter")
        await window.until(lambda: window.app.shelf.chosen == LARGER)
        await window.until(lambda: "no answer from the Hub" in window.page)


async def test_what_is_typed_narrows_the_list_and_escape_shows_all_again(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, LARGER)) as window:
        screen = await library(window)
        await window.pilot.press("slash", *"7b inst")
        assert "starter" not in window.page
        assert "Qwen2.5 7B Instruct" in window.page
        await window.pilot.press("escape")
        assert "starter" in window.page
        await window.pilot.press("escape")
        assert window.app.screen is not screen


async def test_letters_act_in_the_list_and_are_letters_in_the_line(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, LARGER)) as window:
        screen = await library(window)
        await window.pilot.press("slash", *"fdm")
        assert screen.query_one(Input).value == "fdm"
        assert window.app.screen is screen
        await window.pilot.press("escape", "f")
        await window.until(lambda: isinstance(window.app.screen, AskLine))


async def test_the_menu_of_a_row_says_what_can_be_done_and_what_cannot(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, LARGER)) as window:
        await library(window)
        await to(window, f"model:{LARGER.path}")
        await window.pilot.press("m")
        await window.until(lambda: isinstance(window.app.screen, Menu) and "Inspect" in window.page)
        for said in ("Delete", "Settings of this model", "it is not loaded"):
            assert said in window.page


async def test_the_sidebars_models_have_the_same_keys(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, LARGER)) as window:
        rows = window.app.chat.query_one(ModelRows)
        rows.focus()
        rows.point(str(LARGER.path))
        await window.pilot.press("d")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        assert "Delete Qwen2.5 7B Instruct?" in window.page
        await window.pilot.press("escape")
        rows.point("add")
        await window.pilot.press("enter")
        await window.until(lambda: isinstance(window.app.screen, ModelsScreen))


async def asked_for_a_folder(window: Window) -> None:
    await window.pilot.press("f")
    await window.until(lambda: isinstance(window.app.screen, AskLine) and isinstance(window.app.focused, Input))


async def test_a_folder_is_asked_for_and_a_wrong_one_said(opened: Opener, tmp_path: Path) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        await library(window)
        await asked_for_a_folder(window)
        window.app.screen.query_one(Input).value = "/nowhere"
        await window.pilot.press("enter")
        await window.until(lambda: "/nowhere is not a folder with a model" in window.notices)
        good = tmp_path / "good"
        good.mkdir()
        await asked_for_a_folder(window)
        window.app.screen.query_one(Input).value = str(good)
        await window.pilot.press("enter")
        await window.until(lambda: any(model.path == good for model in window.app.shelf.models))


async def test_a_model_that_is_too_big_is_loaded_only_by_one_who_insists(opened: Opener) -> None:
    pool = FakePool()
    pool.too_big[LARGER.path] = "It takes about 30 GiB, more than the 10 GiB there are."
    async with opened(FakeLibrary(STARTER, LARGER), pool) as window:
        await window.until(lambda: STARTER.path in pool.known)
        window.app.chat.desks.models.choose(str(LARGER.path))
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        await window.until(lambda: "30 GiB" in window.page)
        await window.pilot.press("n")
        await window.pilot.pause()
        assert LARGER.path not in pool.known
        window.app.chat.desks.models.choose(str(LARGER.path))
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        await window.pilot.press("y")
        await window.until(lambda: LARGER.path in pool.known)


async def test_a_library_that_is_asked_for_twice_is_one_and_is_told_what_comes(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        screen = await library(window)
        window.app.chat.do("model.library", "0.5b")
        await window.until(lambda: screen.query_one(Input).value == "0.5b")
        window.library.downloads.set(QWEN, state="running", done=120 << 20, total=300 << 20)
        await window.until(lambda: "40 %" in window.page)
        await window.pilot.press("escape", "escape")
        assert window.app.screen is window.app.chat


async def test_keys_before_the_library_stands_do_no_harm(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        for key in ("slash", "tab", "f"):
            window.app.chat.desks.bringing.open()
            window.app.simulate_key(key)
            await window.until(lambda: "Apple M4" in window.page)
            await window.until(lambda: isinstance(window.app.screen, ModelsScreen))
            await window.pilot.press("escape", "escape")
            await window.until(lambda: window.app.screen is window.app.chat)


async def test_a_library_opened_before_models_were_looked_for_shows_them_once_they_are(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = threading.Event()
    fake = FakeLibrary(STARTER, LARGER)
    monkeypatch.setattr(fake, "models", lambda folders: looks.wait(10) and fake.found)
    async with opened(fake, settings=Settings(load_at_start=False), waits=False) as window:
        window.app.chat.do("model.library", "")
        await window.until(lambda: isinstance(window.app.screen, ModelsScreen))
        await window.pilot.press("end", "pageup", "m", "enter", "tab", "shift+tab")
        looks.set()
        await window.until(lambda: "On this machine" in window.page and "starter" in window.page)
        await window.until(lambda: "fits" in facts(window) and "starter" in facts(window))


async def test_a_download_that_paused_and_went_on_is_said_to_be_here_once(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        downloads = await downloading(window)
        await to(window, f"download:{QWEN}")
        for state in ("paused", "running"):
            await window.pilot.press("space")
            await window.until(lambda state=state: downloads.all[0].state == state)
        window.library.found.append(LARGER)
        downloads.arrive(QWEN, LARGER.path)
        await window.until(lambda: LARGER in window.app.shelf.models)
        assert window.notices.count("is here") == 1


async def test_a_download_that_came_while_it_was_asked_about_is_not_said_to_be_cancelled(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        downloads = await downloading(window)
        await to(window, f"download:{QWEN}")
        await window.pilot.press("d")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        downloads.arrive(QWEN, LARGER.path)
        await window.pilot.press("y")
        await window.until(lambda: "is here" in window.notices)
        await window.pilot.pause()
        assert "cancelled" not in window.notices


async def test_leaving_the_library_ends_what_is_asked_of_the_hub(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeLibrary(STARTER)
    fake.on_hub = (Found("someone/Poet-4bit", "Poet-4bit", "mlx-lm"),)
    answers = asyncio.Event()

    async def slow(repo: str) -> Found:
        await answers.wait()
        return Found(repo, "Poet-4bit", "mlx-lm")

    monkeypatch.setattr(fake, "look_up", slow)
    async with opened(fake) as window:
        await library(window)
        await window.pilot.press("slash", *"poet", "enter")
        await window.until(lambda: "The Hub has one model" in window.page)
        await window.pilot.press("enter")
        await window.until(lambda: "Asking the Hub" in window.page)
        await window.pilot.press("escape", "escape")
        await window.until(lambda: window.app.screen is window.app.chat)
        answers.set()
        await window.pilot.pause()
        await window.pilot.pause()
        assert window.app.screen is window.app.chat


async def test_a_row_that_has_gone_when_it_is_chosen_is_let_go(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        screen = await library(window)
        screen.post_message(ModelRows.Chosen(screen.query_one(ModelRows), "download:someone/Gone"))
        await window.pilot.pause()
        assert window.app.screen is screen


async def test_what_is_known_of_a_model_is_read_by_keys_and_stays_where_it_is(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER), size=(60, 18)) as window:
        screen = await library(window)
        await window.pilot.press("tab", "end")
        about = screen.query_one("#about")
        await window.until(lambda: about.scroll_offset.y > 0)
        read = about.scroll_offset.y
        window.library.downloads.set(QWEN, state="running", done=1, total=2)
        await window.until(lambda: "50 %" in str(screen.query_one(ModelRows)._rows))
        assert about.scroll_offset.y == read
        await window.pilot.press("shift+tab", "down")
        assert about.scroll_offset.y == 0


async def test_hostile_words_of_the_hub_are_safe_in_the_question(opened: Opener) -> None:
    fake = FakeLibrary(STARTER)
    hostile = "mit\x1b[31m[bold]"
    fake.on_hub = (Found("someone/Poet-4bit", "Poet\x1b[2J[red]", "mlx-lm", licence=hostile, architecture=hostile),)
    async with opened(fake) as window:
        await library(window)
        await window.pilot.press("slash", *"poet", "enter")
        await window.until(lambda: "The Hub has one model" in window.page)
        await window.pilot.press("enter")
        await window.until(lambda: isinstance(window.app.screen, Confirm) and "icence mit" in window.page)
        assert "\x1b" not in window.page
        assert "[bold]" in window.page


async def test_a_folder_that_is_gone_is_taken_off_the_list(opened: Opener, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    async with opened(FakeLibrary(STARTER)) as window:
        window.app.shelf.add_folder(gone)
        window.app.chat.desks.models.look()
        await window.until(lambda: any(model.path == gone for model in window.app.shelf.models))
        gone.rmdir()
        await library(window)
        await to(window, f"model:{gone}")
        await window.pilot.press("d")
        await window.until(lambda: not any(model.path == gone for model in window.app.shelf.models))
        assert window.app.shelf.folders == []


async def test_what_is_typed_with_the_command_finds_what_is_known_a_moment_later(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER)) as window:
        await window.command("/models gemma 3")
        await window.until(lambda: window.app.screen.query("#facts") and facts(window).startswith("Gemma 3 1B"))
