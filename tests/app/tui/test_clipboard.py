"""The system's clipboard, tried with real programs that stand in for its own."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.tui import clipboard

TEXT = "散歩 naïve \udcff"
REMOTE = ("SSH_TTY", "SSH_CONNECTION", "SSH_CLIENT")
Program = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a program on a PATH that has nothing else; it writes what it was given to the file that is returned."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in (*REMOTE, "WAYLAND_DISPLAY", "DISPLAY", "LC_ALL"):
        monkeypatch.delenv(name, raising=False)

    def put(name: str, then: str = "") -> Path:
        kept = tmp_path / f"{name}.kept"
        script = folder / name
        script.write_text(
            f"#!{sys.executable} -S\nimport os, pathlib, sys, time\n{then}\n"
            f"kept = pathlib.Path({str(kept)!r})\n"
            "kept.write_bytes(sys.stdin.buffer.read())\n"
            "kept.with_suffix('.how').write_text(' '.join([os.environ.get('LC_ALL', ''), *sys.argv[1:]]))\n"
        )
        script.chmod(0o755)
        return kept

    return put


def how(kept: Path) -> str:
    """The locale and the arguments that the program was started with."""
    return kept.with_suffix(".how").read_text()


def test_pbcopy_gets_utf8_and_a_locale_that_says_so(program: Program) -> None:
    kept = program("pbcopy")
    assert clipboard.copy(TEXT)
    assert kept.read_bytes() == "散歩 naïve ?".encode() and how(kept).startswith("en_US.UTF-8")


def test_pbcopy_comes_before_wayland_and_wayland_before_x11(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("DISPLAY", ":0")
    x11 = program("xclip")
    assert clipboard.copy("one") and x11.read_text() == "one" and how(x11) == " -selection clipboard"
    wayland = program("wl-copy")
    assert clipboard.copy("two") and wayland.read_text() == "two"
    mac = program("pbcopy")
    assert clipboard.copy("three") and mac.read_text() == "three"
    assert x11.read_text() == "one" and wayland.read_text() == "two"


def test_programs_without_their_display_are_not_asked(program: Program) -> None:
    kept = [program("wl-copy"), program("xclip")]
    assert not clipboard.copy("text") and not any(path.exists() for path in kept)


def test_one_that_fails_or_hangs_gives_way_to_the_next(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("DISPLAY", ":0")
    program("pbcopy", "sys.exit(1)")
    program("wl-copy", "time.sleep(60)")
    kept = program("xclip")
    begun = time.monotonic()
    monkeypatch.setattr(clipboard, "_PATIENCE", 1.5)
    assert clipboard.copy("text") and kept.read_text() == "text"
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("name", REMOTE)
def test_over_ssh_the_terminal_comes_first_and_this_machines_clipboard_stays_as_it_is(
    program: Program, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kept = [program("pbcopy"), program("xclip")]
    assert not clipboard.terminal_first()
    monkeypatch.setenv(name, "10.0.0.2 50000 10.0.0.1 22")
    for display in ("", ":0", "unix:0", "/private/tmp/org.xquartz:0"):
        monkeypatch.setenv("DISPLAY", display)
        assert clipboard.terminal_first() and not clipboard.copy("text")
    assert not any(path.exists() for path in kept)


def test_over_ssh_a_forwarded_display_is_the_persons_own(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = program("xclip")
    monkeypatch.setenv("SSH_TTY", "/dev/pts/1")
    monkeypatch.setenv("DISPLAY", "localhost:10.0")
    assert clipboard.copy("text") and kept.read_text() == "text"
