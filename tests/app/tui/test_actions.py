"""The table of actions holds together."""

from app.tui.actions import ACTIONS, TYPED
from tests.app.tui.conftest import Opener


def test_every_action_has_a_name_of_its_own() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    assert all(action.keys or action.typed or action.palette for action in ACTIONS)
    assert all(typed.startswith("/") for typed in TYPED)


async def test_every_action_can_be_done(opened: Opener) -> None:
    async with opened() as window:
        assert {action.id for action in ACTIONS} <= set(window.app.chat.acts)
