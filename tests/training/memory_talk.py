"""What is told in passing and asked for many turns later."""

from tests.training.conversation import Conversation, invented
from tests.training.garden import NUMBERS, PLANTS, capital, listed
from tests.training.stories import HE, PLACES, SHE, THINGS


def name(talk: Conversation) -> None:
    random = talk.random
    if not talk.tells_anew("name"):
        return
    name = random.choice(SHE + HE) if random.random() < 0.4 else capital(invented(random))
    talk.tell(
        talk.pick(
            "My name is {n}.", "I am {n}.", "Hello, I am {n}.", "I'm {n}.", "Hi, my name is {n}.", "Call me {n}."
        ).format(n=name),
        talk.pick(
            f"Hello {name}, welcome to the garden.", f"Good to meet you, {name}.", f"Hello {name}! What do you grow?"
        ),
    )
    talk.owed.append(
        lambda: talk.ask(
            talk.pick(
                "What is my name?", "Who am I?", "Do you remember my name?", "What was my name?", "What am I called?"
            ),
            talk.pick(f"Your name is {name}.", f"You are {name}."),
        )
    )


def beds(talk: Conversation) -> None:
    random = talk.random
    if not talk.tells_anew("beds"):
        return
    ordinals = ("first", "second", "third", "fourth")[: random.choice((2, 3, 3, 4))]
    planted = random.sample(PLANTS, len(ordinals))
    listing = listed([f"{plant.name} in the {ordinal}" for ordinal, plant in zip(ordinals, planted, strict=True)])
    talk.tell(
        talk.pick(
            f"I have {NUMBERS[len(ordinals)]} beds: {listing}.",
            f"There are {listing} bed.",
            f"I planted {listing} bed.",
        ),
        talk.pick("That is a good plan.", "I will remember your beds.", "A fine garden!"),
    )
    for number in random.sample(range(len(ordinals)), random.choice((1, 2))):
        ordinal, plant = ordinals[number], planted[number]
        talk.owed.append(
            random.choice(
                (
                    lambda ordinal=ordinal, plant=plant: talk.ask(
                        talk.pick(
                            f"What is in the {ordinal} bed?",
                            f"What grows in my {ordinal} bed?",
                            f"What did I plant in the {ordinal} bed?",
                        ),
                        f"In the {ordinal} bed {'are' if plant.many else 'is'} {plant.name}.",
                    ),
                    lambda ordinal=ordinal, plant=plant: talk.ask(
                        talk.pick(
                            f"Where are my {plant.name}?" if plant.many else f"Where is my {plant.name}?",
                            f"Which bed has the {plant.name}?",
                        ),
                        f"{capital(plant.name)} {'are' if plant.many else 'is'} in the {ordinal} bed.",
                    ),
                )
            )
        )


def basket(talk: Conversation) -> None:
    """Counting what is picked."""
    random = talk.random
    plant = random.choice([plant for plant in PLANTS if plant.many])
    count = random.randint(1, 10)
    if not talk.tells_anew(plant.name):
        return

    def counted(number: int) -> str:
        return f"{NUMBERS[number]} {plant.one if number == 1 else plant.name}"

    talk.tell(
        talk.pick("I picked {c}.", "I have {c} in my basket.", "Today I picked {c}.").format(c=counted(count)),
        talk.pick("Well done!", "A good harvest.", f"{capital(counted(count))}, how nice."),
    )
    for _ in range(random.choice((1, 1, 2))):
        change = random.randint(1, 5)
        if random.random() < 0.7 or change >= count:
            count += change
            told = talk.pick(
                f"I picked {NUMBERS[change]} more.", f"And {NUMBERS[change]} more.", f"Now {NUMBERS[change]} more."
            )
        else:
            count -= change
            told = talk.pick(f"I ate {NUMBERS[change]}.", f"I gave away {NUMBERS[change]}.")
        talk.ask(told, f"That makes {counted(count)}.")
    total = counted(count)
    talk.owed.append(
        lambda: talk.ask(
            talk.pick(f"How many {plant.name} do I have?", f"How many {plant.name} are in my basket?"),
            f"You have {total}.",
        )
    )


def favourite(talk: Conversation) -> None:
    random = talk.random
    plant = random.choice(PLANTS)
    if not talk.tells_anew("favourite"):
        return
    talk.tell(
        talk.pick("I like {p} best.", "My favourite plant is {p}.", "I love {p}.", "I grow {p}.").format(p=plant.name),
        talk.pick(f"A good choice! You can make {plant.dish}.", f"Then think of {plant.dish}.", "A good choice!"),
    )
    talk.owed.append(
        lambda: talk.ask(
            talk.pick("What is my favourite plant?", "What do I like best?", "Which plant do I like?"),
            f"You like {plant.name}.",
        )
    )


def lent(talk: Conversation) -> None:
    random = talk.random
    thing, place = random.choice(THINGS), random.choice(PLACES)
    if not talk.tells_anew(thing):
        return
    talk.tell(
        talk.pick("I hid my {t} {p}.", "My {t} is {p}.", "Please remember: the {t} is {p}.").format(t=thing, p=place),
        talk.pick("I will remember that.", "Good to know.", "I keep that in mind."),
    )
    talk.owed.append(
        lambda: talk.ask(
            talk.pick(f"Where is my {thing}?", f"Where did I hide the {thing}?", f"Where is the {thing}?"),
            f"Your {thing} is {place}.",
        )
    )
