"""Questions about plants, and what is answered."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.training.conversation import Conversation, invented
from tests.training.garden import MONTHS, PLANTS, REMEDIES, Plant, a, capital, listed
from tests.training.small_talk import UNKNOWN_PLANTS


def plants(talk: Conversation) -> None:
    """A plant, what one asks of it next, and perhaps the same of another."""
    random = talk.random
    plant = random.choice(PLANTS)
    asked = random.sample(list(_ASPECTS), random.choice((1, 1, 2, 3, 4)))
    for number, aspect in enumerate(asked):
        if not number:
            talk.ask(aspect.asked(random, plant), aspect.answer(random, plant))
        elif random.random() < 0.25:
            plant = random.choice(PLANTS)
            question = aspect.asked(random, plant)
            talk.ask(talk.pick("And ", "") + question[0].lower() + question[1:], aspect.answer(random, plant))
        else:
            talk.ask(aspect.asked_then(random, plant), aspect.answer(random, plant))
        if random.random() < 0.25:
            plant = random.choice(PLANTS)
            talk.ask(
                talk.pick("And {p}?", "What about {p}?", "And the {p}?", "And for {p}?").format(p=plant.name),
                aspect.answer(random, plant),
            )
        elif random.random() < 0.08:
            talk.ask(
                talk.pick("Are you sure?", "Really?", "Is that true?"),
                talk.pick("Yes. ", "I am sure. ") + talk.turns[-1][1],
            )


def about_a_plant(talk: Conversation) -> None:
    random = talk.random
    plant = random.choice(PLANTS)
    question = talk.pick(
        "Tell me about {p}.",
        "What do you know about {p}?",
        "How do I grow {p}?",
        "I want to grow {p}.",
        "What do {p} need?" if plant.many else "What does {p} need?",
        "Can you help me with {p}?",
        "I need advice on {p}.",
    )
    more = [
        *(aspect.answer(random, plant) for aspect in (_PICK, _LIGHT, _WATER)),
        f"Put {plant.friend} beside {plant.them}.",
        f"Watch out for {plant.pest}." if plant.pest in REMEDIES else f"Hardly anything troubles {plant.them}.",
    ]
    parts = [_SOW.answer(random, plant), *random.sample(more, 2)]
    talk.ask(question.format(p=plant.name), " ".join(parts))
    if random.random() < 0.5:
        aspect = random.choice([_DEPTH, _APART, _FOE, _DISH, _PLACE])
        talk.ask(aspect.asked_then(random, plant), aspect.answer(random, plant))


def may_i(talk: Conversation) -> None:
    random = talk.random
    plant, month = random.choice(PLANTS), random.randrange(12)
    when = f"you {plant.verb} {plant.name} {plant.sow}"

    def answer(month: int) -> str:
        return f"Yes, {when}." if month in plant.sow else f"No, {when}."

    talk.ask(
        talk.pick(
            f"Can I {plant.verb} {plant.name} in {MONTHS[month]}?",
            f"Is {MONTHS[month]} a good month for {plant.name}?",
            f"May I {plant.verb} {plant.name} in {MONTHS[month]}?",
            f"It is {MONTHS[month]}. Can I {plant.verb} {plant.name}?",
        ),
        answer(month),
    )
    if random.random() < 0.4:
        month = random.randrange(12)
        talk.ask(talk.pick("And in {m}?", "What about {m}?", "In {m}?").format(m=MONTHS[month]), answer(month))


def which(talk: Conversation) -> None:
    """Plants by what they have in common."""
    random = talk.random
    kinds = {"herbs": "herb", "flowers": "flower", "roots": "root", "berries": "berry", "leaves": "leaf"}
    plural, kind = random.choice(list(kinds.items()))
    light = random.choice(("sun", "half shade"))
    water = random.choice(("hardly ever", "every day"))
    pest = random.choice(("slugs", "aphids", "caterpillars"))
    asked, fitting = random.choice(
        (
            (
                (f"Name three {plural}.", f"Which {plural} do you know?", f"What {plural} grow here?"),
                [p for p in PLANTS if p.kind == kind],
            ),
            (
                (f"What grows in {light}?", f"Which plants like {light}?", f"I only have {light}. What can I grow?"),
                [p for p in PLANTS if p.light == light],
            ),
            (
                (f"Which plants want water {water}?", f"What do I water {water}?"),
                [p for p in PLANTS if p.water == water],
            ),
            ((f"Which plants do {pest} like?", f"What do {pest} eat?"), [p for p in PLANTS if p.pest == pest]),
        )
    )
    names = random.sample([plant.name for plant in fitting], min(3, len(fitting)))
    talk.ask(random.choice(asked), f"{capital(listed(names))}.")
    if len(fitting) > 5 and random.random() < 0.3:
        more = [plant.name for plant in fitting if plant.name not in names]
        talk.ask(
            talk.pick("More?", "And what else?", "Can you name another one?", "What else?"),
            f"{capital(random.choice(more))}.",
        )


def compare(talk: Conversation) -> None:
    random = talk.random
    one, other = random.sample(PLANTS, 2)
    if one.depth == other.depth or one.apart == other.apart:
        plants(talk)
    elif random.random() < 0.5:
        deep = max(one, other, key=lambda plant: plant.depth)
        flat = min(one, other, key=lambda plant: plant.depth)
        talk.ask(
            talk.pick(
                f"What goes deeper, {one.name} or {other.name}?", f"Which is deeper, {one.name} or {other.name}?"
            ),
            f"{capital(deep.name)}: {deep.depth} cm, and {flat.name} only {flat.depth} cm.",
        )
    else:
        wide = max(one, other, key=lambda plant: plant.apart)
        close = min(one, other, key=lambda plant: plant.apart)
        talk.ask(
            f"What needs more room, {one.name} or {other.name}?",
            f"{capital(wide.name)}: {wide.apart} cm, and {close.name} only {close.apart} cm.",
        )


def riddle(talk: Conversation) -> None:
    random = talk.random
    plant, wrong = random.sample(PLANTS, 2)
    name = a(plant.one) if plant.many else plant.name
    if random.random() < 0.4:
        talk.ask(
            talk.pick("Guess what I am: I am {l}.", "I am {l}. What am I?").format(l=plant.look), f"You are {name}!"
        )
        return
    talk.ask(
        talk.pick("Ask me a riddle.", "Do you know a riddle?", "Give me a riddle.", "Let us play a game."),
        f"I am {plant.look}. What am I?",
    )
    if random.random() < 0.5:
        guess = a(wrong.one) if wrong.many else wrong.name
        talk.ask(
            talk.pick(f"{capital(guess)}?", f"Are you {guess}?", f"{capital(wrong.one)}"),
            talk.pick(f"No, not {guess}. Guess again.", f"No, not {guess}."),
        )
    if random.random() < 0.5:
        talk.ask(talk.pick(f"{capital(name)}?", f"Are you {name}?", capital(plant.one)), f"Yes, I am {name}!")
    else:
        talk.ask(talk.pick("I do not know.", "I give up.", "Tell me.", "No idea."), f"I am {name}!")


def unknown_plant(talk: Conversation) -> None:
    random = talk.random
    name = random.choice(UNKNOWN_PLANTS) if random.random() < 0.7 else f"{invented(random)}s"
    talk.ask(
        talk.pick(
            "When do I sow {p}?", "How do I grow {p}?", "Tell me about {p}.", "And {p}?", "Do you have {p}?"
        ).format(p=name),
        talk.pick("That does not grow in this garden.", "I do not know that plant. It does not grow here."),
    )


@dataclass(frozen=True)
class _Aspect:
    """Something to be asked of a plant: `first` by name, `then` when it has been named."""

    first: tuple[str, ...]
    then: tuple[str, ...]
    answers: tuple[Callable[[Plant], str], ...]

    def asked(self, random: Random, plant: Plant) -> str:
        return random.choice(self.first).format(p=plant.name, **plant.words)

    def asked_then(self, random: Random, plant: Plant) -> str:
        return random.choice(self.then).format(**plant.words)

    def answer(self, random: Random, plant: Plant) -> str:
        return random.choice(self.answers)(plant)


_SOW = _Aspect(
    (
        "When do I sow {p}?",
        "When do I plant {p}?",
        "When can I sow {p}?",
        "In which month do I sow {p}?",
        "When is the time to sow {p}?",
        "When should I plant {p}?",
    ),
    ("When do I sow {them}?", "And when do I plant {them}?", "When?", "And when?"),
    (lambda p: f"{capital(p.verb)} {p.name} {p.sow}.", lambda p: f"You {p.verb} {p.name} {p.sow}, {p.place}."),
)
_PICK = _Aspect(
    ("When can I pick {p}?", "When do I harvest {p}?", "When {are} {p} ready?", "When can I eat {p}?"),
    ("When can I pick {them}?", "And when do I harvest {them}?", "When {are} {they} ready?"),
    (lambda p: f"You can pick {p.name} {p.pick}.", lambda p: f"Pick {p.name} {p.pick}."),
)
_DEPTH = _Aspect(
    ("How deep do I sow {p}?", "How deep {do} {p} go?", "How deep must I plant {p}?"),
    ("How deep?", "And how deep?", "How deep {do} {they} go?"),
    (lambda p: f"{capital(p.name)} {p.does('go')} {p.depth} cm deep.",),
)
_APART = _Aspect(
    ("How far apart {do} {p} stand?", "How much room {do} {p} need?", "How far apart do I plant {p}?"),
    ("How far apart?", "And how far apart?", "How much room {do} {they} need?"),
    (lambda p: f"{capital(p.name)} {p.does('need')} {p.apart} cm between the plants.",),
)
_LIGHT = _Aspect(
    (
        "{Do} {p} need sun?",
        "How much sun {do} {p} need?",
        "{Do} {p} grow in the shade?",
        "Where {do} {p} like to stand?",
    ),
    ("{Do} {they} need sun?", "And sun?", "Sun or shade?", "How much sun {do} {they} need?"),
    (lambda p: f"{capital(p.name)} {p.does('like')} {'full sun' if p.light == 'sun' else p.light}.",),
)
_WATER = _Aspect(
    ("How often do I water {p}?", "How much water {do} {p} need?", "Do I have to water {p}?"),
    ("How often do I water {them}?", "And water?", "How much water {do} {they} need?"),
    (
        lambda p: (
            f"Water {p.name} {p.water}."
            if p.water != "hardly ever"
            else f"{capital(p.name)} hardly ever {p.does('need')} water."
        ),
    ),
)
_PLACE = _Aspect(
    ("Where do I sow {p}?", "Where do I plant {p}?", "Where {do} {p} grow?"),
    ("Where?", "And where?", "Where do I put {them}?"),
    (lambda p: f"{capital(p.verb)} {p.name} {p.place}.",),
)
_FRIEND = _Aspect(
    (
        "What goes well with {p}?",
        "What can I plant beside {p}?",
        "Which neighbours {do} {p} like?",
        "Who are good neighbours for {p}?",
    ),
    ("What goes well with {them}?", "What can I plant beside {them}?", "And good neighbours?"),
    (
        lambda p: f"{capital(p.friend)}. {capital(p.name)} and {p.friend} are good friends.",
        lambda p: f"Put {p.friend} beside {p.name}.",
    ),
)
_FOE = _Aspect(
    ("What should not stand beside {p}?", "What {do} {p} not like beside {them}?", "Which neighbours are bad for {p}?"),
    ("What should not stand beside {them}?", "And bad neighbours?", "What must I keep away from {them}?"),
    (lambda p: f"Keep {p.foe} away from {p.name}.",),
)
_PEST = _Aspect(
    ("What eats my {p}?", "Which pests {do} {p} have?", "What is bad for {p}?"),
    ("What eats {them}?", "And pests?", "What is bad for {them}?"),
    (
        lambda p: (
            f"{capital(p.pest)}. {REMEDIES[p.pest]}" if p.pest in REMEDIES else f"Hardly anything troubles {p.name}."
        ),
    ),
)
_DISH = _Aspect(
    ("What can I cook with {p}?", "What do I make of {p}?", "What {are} {p} good for?", "What can I do with my {p}?"),
    ("What can I cook with {them}?", "And what can I make of {them}?", "What {are} {they} good for?"),
    (lambda p: f"Make {p.dish}.", lambda p: f"You can make {p.dish}."),
)
_ASPECTS = (_SOW, _PICK, _DEPTH, _APART, _LIGHT, _WATER, _PLACE, _FRIEND, _FOE, _PEST, _DISH)
