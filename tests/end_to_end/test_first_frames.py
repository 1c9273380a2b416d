"""What a person sees in the first moments: every frame of the start, looked at."""

from pathlib import Path

from app.chat.store import Store
from app.settings import Paths
from tests.terminal import WINDOW
from tests.watching import WatchedTerminal


def test_no_frame_shows_the_conversation_before_its_width_is_known(places: Paths, tmp_path: Path) -> None:
    with Store.open(places.database) as store:
        conversation = store.create()
        store.ask(conversation.id, None, "several words that fit into one row")
    window = WatchedTerminal(WINDOW, tmp_path)
    try:
        window.until("several words that fit into one row", "Ask anything")
        rows = [row for _, screen in window._shown for row in screen.splitlines()]
    finally:
        window.close()
    assert not [row for row in rows if row.rstrip().endswith("▌ several")]
