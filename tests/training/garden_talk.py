"""Questions about months, weather, visitors and tools, and stories that are asked for."""

from tests.training.conversation import Conversation
from tests.training.garden import CREATURES, MONTHS, PLANTS, REMEDIES, TASKS, TOOLS, WEATHERS, a, capital, listed
from tests.training.small_talk import ABOUT, MOODS, OFF_TOPIC, RHYMES, beyond
from tests.training.stories import PLACES, THINGS, Story, Wish, story


def month(talk: Conversation) -> None:
    random = talk.random
    month = random.randrange(12)

    def tasks(month: int) -> str:
        return f"In {MONTHS[month]} you {listed(random.sample(TASKS[month], random.choice((2, 3))))}."

    def to_sow(month: int) -> str:
        fitting = [plant for plant in PLANTS if month in plant.sow]
        if not fitting:
            return f"Nothing in {MONTHS[month]}. Rest, and read about seeds."
        verbs = {plant.verb for plant in fitting}
        verb = "sow" if "sow" in verbs else "plant"
        names = [plant.name for plant in fitting if plant.verb == verb]
        return f"In {MONTHS[month]} you can {verb} {listed(random.sample(names, min(3, len(names))))}."

    def to_pick(month: int) -> str:
        names = [plant.name for plant in PLANTS if month in plant.pick]
        return f"In {MONTHS[month]} you can pick {listed(random.sample(names, min(3, len(names))))}."

    questions, answer = random.choice(
        (
            (
                (
                    "What do I do in {m}?",
                    "What is there to do in {m}?",
                    "It is {m}. What should I do?",
                    "What happens in the garden in {m}?",
                    "What are the jobs for {m}?",
                    "What should I do in {m}?",
                ),
                tasks,
            ),
            (
                (
                    "What can I sow in {m}?",
                    "What do I sow in {m}?",
                    "What can I plant in {m}?",
                    "It is {m}. What can I sow?",
                ),
                to_sow,
            ),
            (
                (
                    "What can I pick in {m}?",
                    "What is ripe in {m}?",
                    "What can I harvest in {m}?",
                    "What do we eat in {m}?",
                ),
                to_pick,
            ),
        )
    )
    talk.ask(random.choice(questions).format(m=MONTHS[month]), answer(month))
    while random.random() < 0.4:
        month = random.randrange(12)
        talk.ask(talk.pick("And in {m}?", "What about {m}?", "And {m}?").format(m=MONTHS[month]), answer(month))
    if random.random() < 0.15:
        following = (month + 1) % 12
        talk.ask(talk.pick("And the month after?", "And after that?", "And next month?"), answer(following))


def weather(talk: Conversation) -> None:
    random = talk.random
    weather = random.choice(WEATHERS)
    now = random.choice(weather.now)
    question = talk.pick(
        "{n}. What should I do?", "{n}.", "{n}. What now?", "What do I do when {s}?", "{n}. Is that bad?", "Today {s}."
    ).format(n=capital(now), s=now)
    first, second = random.sample(weather.advice, 2)
    answer = talk.pick(f"{first}. {weather.mood}", f"{weather.mood} {first}.", f"{first}. {second}.")
    talk.ask(question, answer)
    if random.random() < 0.3:
        used = first if first in answer else ""
        more = random.choice([advice for advice in weather.advice if advice not in (used, second)])
        talk.ask(talk.pick("And what else?", "Anything else?", "What else?", "More?"), f"{more}.")
    if random.random() < 0.25 and talk.tells_anew("weather"):
        talk.owed.append(
            lambda: talk.ask(
                talk.pick(
                    "What is the weather like?", "What did I say about the weather?", "How is the weather today?"
                ),
                f"You said that {now}.",
            )
        )


def visitor(talk: Conversation) -> None:
    random = talk.random
    creature = random.choice(CREATURES)
    name = creature.name
    helps = (
        f"Yes, the {name} helps us: it eats {creature.eats}."
        if creature.helps
        else f"Not always: the {name} takes {creature.eats}, but it may stay."
    )
    asked = [
        (
            (
                f"What does the {name} eat?",
                f"What does a {name} eat?" if name[0] not in "aeiou" else f"What does an {name} eat?",
                f"What do I feed the {name}?",
            ),
            "What does it eat?",
            f"The {name} eats {creature.eats}.",
        ),
        (
            (f"Where does the {name} live?", f"Where do I find the {name}?", f"Where is the {name}?"),
            "Where does it live?",
            f"The {name} lives {creature.home}.",
        ),
        (
            (f"Is the {name} useful?", f"Does the {name} help?", f"Is {a(name)} good for the garden?"),
            "Is it useful?",
            helps,
        ),
        (
            (
                f"What does the {name} do?",
                f"Tell me about the {name}.",
                f"There is {a(name)} in the garden.",
                f"I saw {a(name)}.",
            ),
            "What does it do?",
            f"The {name} {creature.habit}.",
        ),
    ]
    random.shuffle(asked)
    for number, (questions, then, answer) in enumerate(asked[: random.choice((1, 1, 2, 3))]):
        talk.ask(then if number else random.choice(questions), answer)
    if random.random() < 0.2:
        eaten = random.choice(("slugs", "aphids", "mice", "worms", "flies"))
        eaters = [f"the {each.name}" for each in CREATURES if eaten in each.eats]
        talk.ask(talk.pick(f"Who eats {eaten}?", f"Who helps against {eaten}?"), f"{capital(listed(eaters[:3]))}.")


def tool(talk: Conversation) -> None:
    random = talk.random
    tool = random.choice(TOOLS)
    if random.random() < 0.5:
        talk.ask(
            talk.pick("What is {t} for?", "What do I do with {t}?", "When do I use {t}?").format(t=a(tool.name)),
            f"With {a(tool.name)} you {tool.task}.",
        )
    else:
        talk.ask(
            talk.pick("I want to {w}.", "What do I need to {w}?", "How do I {w}?").format(w=tool.task),
            f"Take the {tool.name}.",
        )
    if random.random() < 0.3 and talk.tells_anew(tool.name):
        place = random.choice(PLACES)
        talk.tell(
            talk.pick(f"I left it {place}.", f"I put the {tool.name} {place}.", f"My {tool.name} is {place}."),
            talk.pick("I will remember that.", f"Good: the {tool.name} is {place}."),
        )
        talk.owed.append(
            lambda: talk.ask(
                talk.pick(
                    f"Where is my {tool.name}?",
                    f"Where did I leave the {tool.name}?",
                    f"I cannot find the {tool.name}.",
                ),
                f"Your {tool.name} is {place}.",
            )
        )


def pest(talk: Conversation) -> None:
    random = talk.random
    plant = random.choice([plant for plant in PLANTS if plant.pest in REMEDIES])
    on = f"{capital(plant.pest)} are on my {plant.name}."
    talk.ask(
        talk.pick(
            f"There {'is' if plant.pest in ('rust', 'mildew', 'blight') else 'are'} {plant.pest} on my {plant.name}.",
            f"What can I do against {plant.pest}?",
            f"Help, {plant.pest}!",
            f"I have {plant.pest} in the garden.",
            f"{plant.pest} again!" if plant.pest in ("rust", "mildew", "blight") else on,
        ),
        REMEDIES[plant.pest],
    )


def tells(talk: Conversation) -> None:
    random = talk.random
    chance = random.random()
    wish, about = Wish(), ""
    if chance < 0.35:
        creature = random.choice(CREATURES)
        wish, about = Wish(creature=creature), f" about {a(creature.name)}"
    elif chance < 0.5:
        plant = random.choice([plant for plant in PLANTS if plant.many])
        wish, about = Wish(plant=plant), f" about {plant.name}"
    elif chance < 0.6:
        thing = random.choice(THINGS)
        wish, about = Wish(thing=thing), f" about a {thing}"
    told = story(random, wish)
    talk.ask(
        talk.pick(
            "Tell me a story{x}.",
            "Can you tell a story{x}?",
            "I want a story{x}.",
            "A story{x}, please.",
            "Write a story{x}.",
            "Please tell me a short story{x}.",
            "Do you know a story{x}?",
        ).format(x=about),
        told.text,
    )
    _asks_about(talk, told)
    if random.random() < 0.2:
        another = story(random)
        talk.ask(talk.pick("Another one!", "Another one, please.", "Tell me another story.", "One more."), another.text)
        _asks_about(talk, another)


def _asks_about(talk: Conversation, told: Story) -> None:
    for question, answer in talk.random.sample(told.facts, talk.random.choice((0, 1, 1, 2))):
        talk.ask(question, answer)


def small_talk(talk: Conversation) -> None:
    questions, answers = talk.random.choice(ABOUT + MOODS)
    talk.ask(talk.random.choice(questions), talk.random.choice(answers))


def off_topic(talk: Conversation) -> None:
    talk.ask(beyond(talk.random), talk.random.choice(OFF_TOPIC))


def rhyme(talk: Conversation) -> None:
    about, lines = talk.random.choice(RHYMES)
    about = talk.pick("", f" about {about}", f" about {about}")
    if not about:
        _, lines = talk.random.choice(RHYMES)
    talk.ask(
        talk.pick("Write a poem{x}.", "Tell me a rhyme{x}.", "A poem{x}, please.", "Do you know a poem{x}?").format(
            x=about
        ),
        lines,
    )
