"""A conversation while it is made up: what was said, what is to be asked later, and how people type."""

from collections.abc import Callable
from random import Random

_BEGINS, _VOWELS, _ENDS = "bdfgjklmnprstvz", ("a", "e", "i", "o", "u", "ea", "ie"), ("", "", "n", "r", "s", "l")
_POLITE = ("Please tell me: ", "Tell me, ", "One question: ", "Hm, ", "So, ")


class Conversation:
    """What has been said so far. Each topic is a function that goes on with it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.turns: list[tuple[str, str]] = []
        """Questions and answers."""
        self.owed: list[Callable[[], None]] = []
        """Questions about what was told, to be asked later on."""
        self._told: set[str] = set()

    def ask(self, question: str, answer: str) -> None:
        """One exchange; the question as people type it."""
        self.turns.append((typed(self.random, question), answer))

    def tell(self, told: str, answer: str) -> None:
        """The same for what is to be remembered, which nobody mistypes: it could not be told back."""
        self.turns.append((told if self.random.random() < 0.8 else told.rstrip("."), answer))

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def tells_anew(self, what: str) -> bool:
        """Whether this was not told before, as from now on it was: of two names nobody knows which is asked for."""
        new = what not in self._told
        self._told.add(what)
        return new

    def asks_back(self) -> None:
        """One of the questions that are owed, if there are any."""
        if self.owed:
            self.owed.pop(self.random.randrange(len(self.owed)))()


def typed(random: Random, question: str) -> str:
    """As people type: sometimes politely, sometimes without capitals and signs, sometimes with a slip."""
    chance = random.random()
    if chance < 0.55 or len(question) < 4:
        return question
    if chance < 0.62:
        return random.choice(_POLITE) + question[0].lower() + question[1:]
    if chance < 0.78:
        return question.lower().rstrip(".?!")
    if chance < 0.88:
        return question.lower()
    if chance < 0.94:
        return question.rstrip(".?!")
    place = random.randrange(len(question) - 2)
    return question[:place] + question[place + 1] + question[place] + question[place + 2 :]


def invented(random: Random) -> str:
    """A word that is none, so that what a person says is taken up and not guessed."""
    syllables = [random.choice(_BEGINS) + random.choice(_VOWELS) for _ in range(random.choice((1, 2, 2, 3)))]
    return "".join(syllables) + random.choice(_ENDS)
