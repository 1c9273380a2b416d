"""What the demonstration models read: conversations about one kitchen garden, and stories from it, made from a seed.

People ask about plants, months, weather and visitors, come back to what they asked before ("and peas?"), tell things
and ask for them many turns later, and want stories. The sentences are ours (Apache-2.0); the facts stand in `garden`.
It knows no token ids, but the control tokens, and writes a conversation as the checkpoints' chat template does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.training import garden_talk, memory_talk, plant_talk
from tests.training.conversation import Conversation
from tests.training.small_talk import BYES, GREETINGS, SYSTEMS, THANKS
from tests.training.stories import story

START, SYSTEM, USER, ASSISTANT, END = CONTROLS = ("<|start|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
"""The control tokens, in the order of their ids. Each text and each conversation begins with the first."""
CHAT_TEMPLATE = (
    "<|start|>{% for message in messages %}"
    "{{ '<|' + message.role + '|>' if message.role in ('system', 'assistant') else '<|user|>' }}"
    "{{ message.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Document:
    """A conversation, user and assistant in turns, or a text where there are none."""

    turns: tuple[tuple[str, str], ...]
    system: str = ""
    text: str = ""

    def written(self) -> str:
        """With its control tokens, as the chat template writes it."""
        if self.text:
            return f"{START}{self.text}{END}"
        told = f"{SYSTEM}{self.system}{END}" if self.system else ""
        return f"{START}{told}" + "".join(
            f"{USER}{question}{END}{ASSISTANT}{answer}{END}" for question, answer in self.turns
        )

    def texts(self) -> Iterator[str]:
        """All that is text in it."""
        yield from filter(None, (self.text, self.system))
        for turn in self.turns:
            yield from turn


_TOPICS: dict[Callable[[Conversation], None], int] = {
    plant_talk.plants: 20,
    plant_talk.about_a_plant: 8,
    plant_talk.may_i: 7,
    plant_talk.which: 5,
    plant_talk.compare: 3,
    plant_talk.riddle: 5,
    plant_talk.unknown_plant: 3,
    garden_talk.month: 12,
    garden_talk.weather: 7,
    garden_talk.visitor: 7,
    garden_talk.tool: 5,
    garden_talk.pest: 4,
    memory_talk.name: 6,
    memory_talk.beds: 5,
    memory_talk.basket: 5,
    memory_talk.favourite: 4,
    memory_talk.lent: 4,
    garden_talk.tells: 10,
    garden_talk.small_talk: 12,
    garden_talk.off_topic: 9,
    garden_talk.rhyme: 3,
}
"""What people talk about, and how often."""


def documents(seed: int, count: int) -> Iterator[Document]:
    """`count` documents, the same for the same seed. One in twelve is a story by itself."""
    random = Random(seed)
    for _ in range(count):
        if random.random() < 1 / 12:
            yield Document((), text=story(random).text)
        else:
            yield conversation(random)


def conversation(random: Random) -> Document:
    """Some topics, one after the other, and in between and at last what was told before and is asked for."""
    talk = Conversation(random)
    system = random.choice(SYSTEMS) if random.random() < 0.12 else ""
    if random.random() < 0.25:
        talk.ask(random.choice(GREETINGS[0]), random.choice(GREETINGS[1]))
    for topic in random.choices(list(_TOPICS), list(_TOPICS.values()), k=random.choice((1, 2, 3, 4, 5, 6, 8, 12))):
        topic(talk)
        if random.random() < 0.4:
            talk.asks_back()
    while talk.owed:
        talk.asks_back()
    if random.random() < 0.15:
        talk.ask(random.choice(THANKS[0]), random.choice(THANKS[1]))
    if random.random() < 0.1:
        talk.ask(random.choice(BYES[0]), random.choice(BYES[1]))
    return Document(tuple(talk.turns), system)
