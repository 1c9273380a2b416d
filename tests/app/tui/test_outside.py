"""Writing in the person's own editor: which one, on what file, and that nothing is left behind."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import QuietlyError
from app.tui.outside import editor
from tests.terminal import Terminal

PAGE = """
import sys
from textual.app import App
from textual.widgets import Static
from app.tui.widgets.composer_area import ComposerArea

class Page(App):
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [("ctrl+g", "write"), ("ctrl+q", "quit")]
    def compose(self):
        yield Static("0", id="count")
        yield ComposerArea()
    def on_mount(self):
        self.query_one("#composer").focus()
        self.set_interval(0.05, self.count)
        self.counted = 0
    def count(self):
        self.counted += 1
        self.query_one("#count").update(f"counted {self.counted}")
    def action_write(self):
        self.query_one("#composer").action_edit_outside()

Page().run()
"""
EDITOR = """#!{python}
import os, sys, time
path = sys.argv[-1]
modes = [oct(os.stat(name).st_mode) for name in (path, os.path.dirname(path))]
print("\\x1b[2J\\x1b[HTHE EDITOR HAS", open(path).read(), *modes, path, flush=True)
time.sleep(0.6)
print("STILL HERE", flush=True)
line = sys.stdin.readline()
open(path + "~", "w").write("a backup")
open(path, "a").write(line)
sys.exit({status})
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "page.py").write_text(PAGE)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("VISUAL", f"'{tmp_path}/my editor' --wait")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    terminal = Terminal([sys.executable, str(tmp_path / "page.py")], tmp_path, columns=150)
    yield terminal
    terminal.close()


def write_editor(folder: Path, status: int) -> None:
    program = folder / "my editor"
    program.write_text(EDITOR.format(python=sys.executable, status=status))
    program.chmod(0o700)


def count_on(screen: str) -> int:
    """How far the page has counted, as the screen shows it."""
    return int(screen.partition("counted ")[2].split()[0])


def test_what_is_written_outside_comes_back_and_leaves_nothing(page: Terminal, tmp_path: Path) -> None:
    write_editor(tmp_path, 0)
    page.until("Ask anything", "counted")
    page.type("begun here")
    before = count_on(page.until("begun here", "counted"))
    page.type("\x07")
    page.until("THE EDITOR HAS begun here", "0o100600", "0o40700", "message.md")
    assert "counted" not in page.until("STILL HERE")
    page.type("and ended there\n")
    # The window has worked meanwhile, and painted nothing.
    assert count_on(page.until("begun hereand ended there", "counted", gone="THE EDITOR HAS")) > before + 6
    assert list((tmp_path / "tmp").iterdir()) == []
    page.type("!")
    page.until("ended there!")


def test_an_editor_that_fails_leaves_the_text_as_it_was(page: Terminal, tmp_path: Path) -> None:
    write_editor(tmp_path, 3)
    page.until("Ask anything", "counted")
    page.type("kept\x07")
    page.until("THE EDITOR HAS kept")
    page.type("lost\n")
    page.until("status 3", "kept", gone="THE EDITOR HAS")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_persons_choice_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VISUAL", "code --wait")
    monkeypatch.setenv("EDITOR", "'/opt/my editor/ed'")
    assert editor() == ["code", "--wait"]
    monkeypatch.delenv("VISUAL")
    assert editor() == ["/opt/my editor/ed"]
    monkeypatch.setenv("EDITOR", "'never closed")
    with pytest.raises(QuietlyError, match=r"\$EDITOR"):
        editor()
    monkeypatch.setenv("EDITOR", " ")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QuietlyError, match="no editor"):
        editor()
    (tmp_path / "nano").touch(mode=0o700)
    assert editor() == [str(tmp_path / "nano")]
