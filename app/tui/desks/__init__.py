"""What a person does at the window, by what it is about; each desk acts on the room and offers its acts by id.

Imported once the window's first frame is on the terminal.
"""

from collections.abc import Callable

from app.tui.desks.bringing import Bringing
from app.tui.desks.carrying import Carrying
from app.tui.desks.comparing import Comparing
from app.tui.desks.conversations import Act, Conversations
from app.tui.desks.finding import Finding
from app.tui.desks.messages import Messages
from app.tui.desks.models import Models
from app.tui.desks.probabilities import Probabilities
from app.tui.desks.searching import Searching
from app.tui.desks.templates import Templates
from app.tui.desks.tuning import Tuning
from app.tui.desks.undo import Undo
from app.tui.desks.writing import Writing
from app.tui.room import Room


class Desks:
    """All of them, and the acts of all."""

    def __init__(self, room: Room, leave: Callable[[], None]) -> None:
        """`leave` puts the person back into the composer."""
        self.undo = Undo(room)
        self.models = Models(room, leave)
        self.writing = Writing(room, self.models)
        self.carrying = Carrying(room)
        self.conversations = Conversations(room, self.writing, self.carrying, self.undo)
        self.messages = Messages(room, self.models, self.writing, self.undo)
        self.comparing = Comparing(room, self.models, self.messages)
        self.finding = Finding(room)
        self.searching = Searching(room, self.conversations, self.finding)
        self.probabilities = Probabilities(room, self.messages)
        self.templates = Templates(room)
        self.tuning = Tuning(room, self.models, self.writing)
        self.bringing = Bringing(room, self.models, self.tuning.tune_named)
        self.acts: dict[str, Act] = {}
        for desk in (
            *(self.models, self.writing, self.conversations, self.messages, self.comparing, self.finding),
            *(self.carrying, self.searching, self.probabilities, self.templates, self.tuning, self.undo),
            self.bringing,
        ):
            self.acts |= desk.acts
