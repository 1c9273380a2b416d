"""Carrying conversations out of Quietly and into it: files of Markdown, JSON and HTML, and what others export."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from app import words
from app.errors import QuietlyError
from app.fields import Field
from app.home import expanded
from app.tui.room import Room

if TYPE_CHECKING:
    from app.carrying import Branches, Format, TakenIn
    from app.tui.desks.conversations import Act
    from app.tui.screens.progress import Report

_FIELDS = (
    Field(
        "what",
        "Export",
        "What",
        "Temporary chats are exported one by one only.",
        "choice",
        (("one", "This conversation"), ("all", "All conversations")),
    ),
    Field(
        "branches",
        "Export",
        "Branches",
        "An edited question or a second answer makes another branch.",
        "choice",
        (("current", "The one in view"), ("all", "All of them")),
    ),
    Field(
        "format",
        "Export",
        "Format",
        "Markdown and JSON can be imported again.",
        "choice",
        (("markdown", "Markdown"), ("json", "JSON"), ("html", "HTML, one page")),
    ),
    Field("folder", "Export", "Folder", "Nothing in it is ever overwritten.", "line"),
)


class Carrying:
    """Export and import at the window."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.acts: dict[str, Act] = {
            "conversation.export": lambda _: self._export_current(),
            "conversation.export_as": lambda _: self.export_as(),
            "conversation.import": self.bring_in,
        }

    # --- out ---

    def _export_current(self) -> None:
        if self._room.current is None:
            self._room.decline("There is no conversation yet; write something first.")
        else:
            self.export(self._room.current)

    def export(self, conversation: int) -> None:
        """Write the branch in use to a file, where and as the settings say."""
        from app.carrying import export_one
        from app.exporting import export_folder

        settings = self._room.settings
        store = self._room.stores.of(conversation)
        path = export_one(store, conversation, export_folder(settings), settings.export_format, "current")
        self._room.say(f"Exported to {path}")

    def export_as(self) -> None:
        """Ask what to export, how and where to, and do so."""
        from app.exporting import export_folder
        from app.tui.screens.form import Form

        room = self._room
        settings = room.settings
        values: dict[str, object] = {
            "what": "all" if room.current is None else "one",
            "branches": "current",
            "format": settings.export_format,
            "folder": str(export_folder(settings)),
        }

        def chosen(changed: dict[str, object | None] | None) -> None:
            if changed is not None:
                self._export_these(values | changed)

        room.app.push_screen(Form("Export", _FIELDS, values, yes="Export"), chosen)

    def _export_these(self, wanted: dict[str, object]) -> None:
        from app.carrying import export
        from app.tui.screens.progress import ProgressScreen

        room = self._room
        if wanted["what"] == "one" and room.current is None:
            room.say("There is no conversation in view; open one, or export all of them.")
            return
        one = room.current if wanted["what"] == "one" else None
        store = room.stores.disk if one is None else room.stores.of(one)
        folder = expanded(str(wanted["folder"]).strip() or ".")
        format = cast("Format", wanted["format"])
        branches = cast("Branches", wanted["branches"])

        def do(report: "Report") -> list[Path]:
            conversations = [record.id for record in store.conversations()] if one is None else [one]
            return export(store, conversations, folder, format, branches, report)

        def done(written: list[Path] | QuietlyError | None) -> None:
            match written:
                case None:
                    room.say(f"The export was ended; what was written by then is in {folder}.")
                case QuietlyError():
                    room.say(str(written), wrong=True)
                case []:
                    room.say("There is no conversation to export yet.")
                case [path]:
                    room.say(f"Exported to {path}")
                case _:
                    room.say(f"Exported {len(written):,} conversations to {folder}")

        room.app.push_screen(ProgressScreen("Exporting", do), done)

    # --- in ---

    def bring_in(self, typed: str) -> None:
        """Import the file or folder at the path `typed`, or let the person pick a file."""
        from app.exporting import export_folder
        from app.tui.screens.picking import PickFile

        if typed:
            self._take_in(expanded(typed))
            return

        def picked(path: Path | None) -> None:
            if path is not None:
                self._take_in(path)

        start = export_folder(self._room.settings)
        self._room.app.push_screen(PickFile(start, "Import conversations from a file"), picked)

    def _take_in(self, path: Path) -> None:
        from app.carrying import read, take_in
        from app.tui.screens.progress import ProgressScreen

        room = self._room

        def do(report: "Report") -> "TakenIn":
            report(0, 0)
            return take_in(room.stores.disk, read(path), report)

        def done(taken: "TakenIn | QuietlyError | None") -> None:
            room.tell_conversations()
            match taken:
                case None:
                    room.say("The import was ended; what was taken in by then is in the list.")
                case QuietlyError():
                    room.say(str(taken), wrong=True)
                case _:
                    room.say(words.imported(len(taken.added), taken.already))

        room.app.push_screen(ProgressScreen("Importing", do), done)
