"""The ways to talk with Quietly, each by what a person does there: in the window, and line by line."""

import re
from collections.abc import Callable, Sequence

import pytest

from tests.end_to_end.keys import CTRL_C, CTRL_D, CTRL_E, CTRL_P, CTRL_Q, ENTER, ESCAPE
from tests.terminal import PLAIN, WINDOW, Terminal


class InTheWindow:
    """By keys, on a screen that is painted."""

    command: Sequence[str] = WINDOW

    def __init__(self, opened: Callable[[Sequence[str]], Terminal]) -> None:
        self.terminal = opened(self.command)

    def is_ready(self) -> None:
        self.terminal.until("Ask anything", "starter")

    def ask(self, question: str) -> None:
        self.terminal.type(question + ENTER)

    def hears(self, answer: str) -> None:
        """The whole answer, and what it took."""
        self.terminal.until(answer, "tok/s")

    def sees_it_written(self, question: str, by: str) -> None:
        if by == "starter":  # what others babble may push the question out of sight
            self.terminal.until(question)
        self.terminal.until("writing")

    def stops(self) -> None:
        self.terminal.type(ESCAPE)
        self.terminal.until("stopped", gone="writing")

    def exports(self) -> None:
        self.terminal.type(CTRL_E)
        self.terminal.until("Downloads")

    def switches_to(self, model: str) -> None:
        """By keyboard, through the palette."""
        window = self.terminal
        window.type(CTRL_P)
        window.until("Search for commands")
        window.type("model")
        window.until("Switch model")
        window.type(ENTER)
        window.until(model)
        window.type(model + ENTER)
        window.until(f"● {model}", within=30)

    def finds_again(self, *said: str) -> None:
        self.terminal.until(*said)

    def quits(self) -> None:
        self.terminal.type(CTRL_Q)
        assert self.terminal.ends() == 0


class LineByLine(InTheWindow):
    """By words, in a terminal where nothing is written over."""

    command = PLAIN
    prompt = "You:"

    def is_ready(self) -> None:
        self.terminal.until("starter answers here")
        self.terminal.until_it_waits(self.prompt)

    def hears(self, answer: str) -> None:
        self.terminal.until(f"starter: {answer}", "Complete after", "tokens a second")
        self.terminal.until_it_waits(self.prompt)

    def sees_it_written(self, question: str, by: str) -> None:
        asked, read = re.escape(f"{self.prompt} {question}\n"), "(Reading the prompt .*\n)?"
        self.terminal.until(re.compile(f"{asked}{read}{re.escape(by)}: "))

    def stops(self) -> None:
        self.terminal.type(CTRL_C)
        self.terminal.until("Stopped after")
        self.terminal.until_it_waits(self.prompt)

    def exports(self) -> None:
        self.ask("/export")
        self.terminal.until("Exported to", "Downloads")

    def switches_to(self, model: str) -> None:
        self.ask(f"/model {model}")
        self.terminal.until(f"{model} answers next.")

    def finds_again(self, *said: str) -> None:
        self.terminal.until("/read reads it.")
        self.terminal.until_it_waits(self.prompt)
        self.ask("/read 4")
        self.terminal.until(*said)

    def quits(self) -> None:
        self.terminal.type(CTRL_D)
        assert self.terminal.ends() == 0


WAYS = (InTheWindow, pytest.param(LineByLine, marks=pytest.mark.soak))
