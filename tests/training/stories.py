"""Short stories from the kitchen garden, each with what may be asked about it afterwards. Made from a seed."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.training.garden import CREATURES, NUMBERS, PLANTS, TOOLS, Creature, Plant, a, capital, listed

SHE = ("Mina", "Anna", "Rosa", "Lotte", "Ida", "Clara", "Nell", "Olga", "Pia", "Vera", "Wilma", "Zora")
HE = ("Otto", "Tom", "Emil", "Bruno", "Hugo", "Karl", "Leo", "Max", "Nico", "Paul", "Ravi", "Sam")
_PEOPLE_SHE = ("girl", "gardener", "cook", "neighbour")
_PEOPLE_HE = ("boy", "gardener", "baker", "neighbour")
_SIZES = ("small", "old", "young", "shy", "brave", "curious", "lazy", "cheerful", "hungry", "quiet")
THINGS = (
    "red key",
    "blue button",
    "silver bell",
    "straw hat",
    "green scarf",
    "wooden spoon",
    "yellow boot",
    "paper boat",
    "glass marble",
    "brown glove",
    "little lamp",
    "tin whistle",
)
PLACES = (
    "under the bench",
    "behind the shed",
    "in the wheelbarrow",
    "beside the pond",
    "below the hedge",
    "in the watering can",
    "under a flowerpot",
    "by the gate",
    "in the old apple tree",
    "behind the compost heap",
    "among the nettles",
    "in the greenhouse",
)
_TIMES = (
    "One morning",
    "One evening",
    "Early one day",
    "On a warm afternoon",
    "One autumn day",
    "In the first week of spring",
)
_ENDS = (
    "And that was the end of a good day.",
    "From that day on they were friends.",
    "They still tell this story when it rains.",
    "Then everybody went to sleep.",
    "And the garden was quiet again.",
    "They laughed about it for weeks.",
    "And the moon looked down and smiled.",
)


@dataclass(frozen=True)
class Hero:
    """Somebody in a story. `kind` is what they are, `he` and `his` how they are spoken of."""

    name: str
    kind: str
    he: str
    his: str
    him: str


@dataclass(frozen=True)
class Story:
    """`facts`: questions about it with their answers."""

    text: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Wish:
    """What a story is to be about; what is None is left to chance."""

    creature: Creature | None = None
    plant: Plant | None = None
    thing: str | None = None


def story(random: Random, wish: Wish = Wish()) -> Story:
    """A story that has in it what is wished for."""
    plots = _PLOTS
    if wish.thing is not None:
        plots = (_lost,)
    elif wish.plant is not None:
        plots = (_giant, _cold, _quarrel, _seed)
    return random.choice(plots)(random, wish)


def _somebody(random: Random, creature: Creature | None = None, not_named: str = "") -> Hero:
    she = random.random() < 0.5
    name = random.choice([name for name in (SHE if she else HE) if name != not_named])
    if creature is None and random.random() < 0.6:
        creature = random.choice(CREATURES)
    kind = creature.name if creature else random.choice(_PEOPLE_SHE if she else _PEOPLE_HE)
    return Hero(name, kind, *(("she", "her", "her") if she else ("he", "his", "him")))


def _opening(random: Random, hero: Hero) -> str:
    size = random.choice(_SIZES)
    return random.choice(
        (
            f"{hero.name} was {a(size)} {hero.kind} who lived in the garden.",
            f"Once there was {a(size)} {hero.kind} called {hero.name}.",
            f"In our garden lived {a(size)} {hero.kind}. {capital(hero.his)} name was {hero.name}.",
            f"There was once {a(size)} {hero.kind}, and everybody called {hero.him} {hero.name}.",
        )
    )


def _who(hero: Hero, friend: Hero | None = None) -> list[tuple[str, str]]:
    facts = [
        (f"What was the {hero.kind} called?", f"The {hero.kind} was called {hero.name}."),
        (f"Who was {hero.name}?", f"{hero.name} was {a(hero.kind)}."),
    ]
    if friend and friend.kind != hero.kind:
        facts += [
            (f"Who helped {hero.name}?", f"{friend.name}, the {friend.kind}, helped {hero.him}."),
            (f"Who was {friend.name}?", f"{friend.name} was {a(friend.kind)}."),
        ]
    return facts


def _told(random: Random, parts: list[str], facts: list[tuple[str, str]]) -> Story:
    return Story(" ".join([*parts, random.choice(_ENDS)]), tuple(facts))


def _lost(random: Random, wish: Wish) -> Story:
    hero = _somebody(random, wish.creature)
    friend = _somebody(random, not_named=hero.name)
    thing = wish.thing or random.choice(THINGS)
    first, second, third = random.sample(PLACES, 3)
    parts = [
        _opening(random, hero),
        f"{random.choice(_TIMES)} {hero.name} could not find {hero.his} {thing}.",
        random.choice(
            (
                f'"Where can it be?" {hero.he} asked.',
                f'"It was here yesterday," {hero.he} said.',
                f"{capital(hero.he)} was very sad about it.",
            )
        ),
        f"{capital(hero.he)} looked {first}, but there was only {a(random.choice(TOOLS).name)}.",
        f"{capital(hero.he)} looked {second}, and there sat {friend.name}, the {friend.kind}.",
        f'"Have you seen my {thing}?" asked {hero.name}.',
        random.choice(
            (
                f'"I saw something {third}," said {friend.name}.',
                f'"Come with me," said {friend.name}.',
                f'"Let us look together," said {friend.name}.',
            )
        ),
        f"They found the {thing} {third}.",
    ]
    facts = [
        (f"What did {hero.name} lose?", f"{hero.name} lost {hero.his} {thing}."),
        (f"Where was the {thing}?", f"The {thing} was {third}."),
        (f"Where did {hero.name} look first?", f"First {hero.he} looked {first}."),
    ]
    return _told(random, parts, facts + _who(hero, friend))


def _giant(random: Random, wish: Wish) -> Story:
    hero = _somebody(random, wish.creature)
    plant = wish.plant or random.choice([plant for plant in PLANTS if plant.many])
    one = f"a {plant.name} plant" if not plant.many else a(plant.one)
    the = f"the {plant.name}" if not plant.many else f"the {plant.one}"
    helpers = random.sample([creature for creature in CREATURES if creature.name != hero.kind], 2)
    size = random.choice(("a barrel", "a shed", "a wheelbarrow", "a cow"))
    parts = [
        _opening(random, hero),
        f"{capital(hero.he)} grew {one}, and it grew and grew until it was as big as {size}.",
        f"{hero.name} pulled and pulled, but {the} did not move.",
        f"So {hero.he} called the {helpers[0].name}. They pulled together, but it did not move.",
        f"Then the {helpers[1].name} came and pulled too.",
        random.choice(
            (
                "One, two, three, and out it came!",
                "There was a loud plop, and out it came!",
                "All at once it came out, and they fell over.",
            )
        ),
        f"They made {plant.dish}, and it was enough for the whole garden.",
    ]
    facts = [
        (f"What did {hero.name} grow?", f"{hero.name} grew {one}."),
        ("Who came first to help?", f"The {helpers[0].name} came first."),
        ("Who came last?", f"The {helpers[1].name} came last."),
        ("What did they make?", f"They made {plant.dish}."),
    ]
    return _told(random, parts, facts + _who(hero))


def _cold(random: Random, wish: Wish) -> Story:
    hero = _somebody(random, wish.creature)
    friend = _somebody(random, not_named=hero.name)
    plant = wish.plant or random.choice(PLANTS)
    weather, cover = random.choice(
        (("frost", "covered"), ("a storm", "tied up"), ("snow", "covered"), ("great heat", "watered"))
    )
    parts = [
        _opening(random, hero),
        f"{capital(hero.he)} loved the {plant.name} more than anything else.",
        f"{random.choice(_TIMES)} {friend.name}, the {friend.kind}, came running.",
        f'"There will be {weather}!"',
        random.choice(
            (
                f'"What can I do?" asked {hero.name}.',
                f"{hero.name} was frightened.",
                f'"Then we must hurry," said {hero.name}.',
            )
        ),
        f"Together they {cover} the {plant.name}, row after row, until it was dark.",
        f"The next morning {weather} had come, but the {plant.name} {'were' if plant.many else 'was'} safe.",
        f"They had {plant.dish} and talked about it until noon.",
    ]
    facts = [
        (f"What did {hero.name} love?", f"{hero.name} loved the {plant.name}."),
        ("What was coming?", f"{capital(weather)} was coming."),
        ("What did they eat?", f"They ate {plant.dish}."),
    ]
    return _told(random, parts, facts + _who(hero, friend))


def _stranger(random: Random, wish: Wish) -> Story:
    hero = _somebody(random, wish.creature)
    guest = random.choice([creature for creature in CREATURES if creature.name != hero.kind])
    place = random.choice(PLACES)
    plant = random.choice(PLANTS)
    parts = [
        _opening(random, hero),
        f"{random.choice(_TIMES)} {hero.he} saw {a(guest.name)} that nobody knew. It sat {place} and said nothing.",
        random.choice(
            (
                f'"Are you hungry?" asked {hero.name}.',
                f'"Good day," said {hero.name}.',
                f'"Do not be afraid," said {hero.name}.',
            )
        ),
        f"{hero.name} brought {plant.dish}, but the {guest.name} shook its head.",
        f'"I only eat {guest.eats}," it said.',
        f"So {hero.name} showed it where to find {guest.eats}, and the {guest.name} stayed.",
        f"Now it lives {guest.home}.",
    ]
    facts = [
        ("Who came to the garden?", f"{capital(a(guest.name))} came to the garden."),
        (f"Where did the {guest.name} sit?", f"It sat {place}."),
        (f"What did {hero.name} bring?", f"{hero.name} brought {plant.dish}."),
        (f"Where does the {guest.name} live now?", f"It lives {guest.home}."),
    ]
    return _told(random, parts, facts + _who(hero))


def _noise(random: Random, wish: Wish) -> Story:
    hero = _somebody(random, wish.creature)
    guest = random.choice([creature for creature in CREATURES if creature.name != hero.kind])
    place = random.choice(PLACES)
    sound = random.choice(("a rustle", "a knock", "a squeak", "a deep hum", "a strange whistle"))
    parts = [
        _opening(random, hero),
        f"One night {hero.he} heard {sound} {place}.",
        random.choice(
            (
                f'"Is it a ghost?" thought {hero.name}.',
                f"{hero.name} pulled the blanket up to {hero.his} nose.",
                f"{capital(hero.his)} heart beat fast.",
            )
        ),
        f"But {hero.he} took a lamp and went out into the dark.",
        f"There was no ghost. It was only the {guest.name}, looking for {guest.eats}.",
        f'"Good night," said the {guest.name}.',
        f'"Good night," said {hero.name}, and slept until noon.',
    ]
    facts = [
        (f"What did {hero.name} hear?", f"{hero.name} heard {sound}."),
        ("Where did the noise come from?", f"It came from something {place}."),
        ("Who made the noise?", f"It was the {guest.name}."),
        (f"What was the {guest.name} looking for?", f"It was looking for {guest.eats}."),
    ]
    return _told(random, parts, facts + _who(hero))


def _quarrel(random: Random, wish: Wish) -> Story:
    hero = _somebody(random, wish.creature)
    friend = _somebody(random, not_named=hero.name)
    plant = wish.plant or random.choice(PLANTS)
    other = random.choice([other for other in PLANTS if other != plant])
    judge = random.choice([creature for creature in CREATURES if creature.name not in (hero.kind, friend.kind)])
    parts = [
        f"{hero.name}, the {hero.kind}, and {friend.name}, the {friend.kind}, could not agree.",
        f'"There is nothing better than {plant.name}," said {hero.name}.',
        f'"There is nothing better than {other.name}," said {friend.name}.',
        random.choice(
            (
                "They quarrelled from breakfast to supper.",
                "They did not speak for two days.",
                "They shouted until the leaves shook.",
            )
        ),
        f'Then the {judge.name} came by. "I only like {judge.eats}," it said.',
        f"So they shared {plant.dish} and {other.dish}, and both were good.",
    ]
    facts = [
        (f"What did {hero.name} like best?", f"{hero.name} liked {plant.name} best."),
        (f"What did {friend.name} like best?", f"{friend.name} liked {other.name} best."),
        ("Who came by?", f"The {judge.name} came by."),
        *_who(hero)[1:],
        *_who(friend)[1:],
    ]
    return _told(random, parts, facts)


def _seed(random: Random, wish: Wish) -> Story:
    hero = _somebody(random, wish.creature)
    plant = wish.plant or random.choice(PLANTS)
    it = a(plant.one) if plant.many else plant.name
    days = random.randint(3, 20)
    weather = random.choice(("It rained.", "The sun shone.", "A robin sang."))
    place = random.choice(PLACES)
    parts = [
        _opening(random, hero),
        f"{random.choice(_TIMES)} {hero.he} found a seed {place}.",
        f'"What will you be?" asked {hero.name}, but the seed said nothing.',
        f"{capital(hero.he)} put it {plant.depth} cm deep into the soil and waited.",
        f"{capital(NUMBERS[days])} days went by. {weather} Nothing happened.",
        f"Then, one morning, something green looked out of the ground. It was {it}!",
        f"In the end {hero.name} had {plant.dish}.",
    ]
    facts = [
        (f"Where did {hero.name} find the seed?", f"{capital(hero.he)} found it {place}."),
        (f"How long did {hero.name} wait?", f"{capital(hero.he)} waited {NUMBERS[days]} days."),
        ("What was it?", f"It was {it}."),
    ]
    return _told(random, parts, facts + _who(hero))


def _feast(random: Random, wish: Wish) -> Story:
    hero = _somebody(random, wish.creature)
    guests = random.sample([creature for creature in CREATURES if creature.name != hero.kind], 3)
    dishes = random.sample([plant.dish for plant in PLANTS], 3)
    place = random.choice(PLACES)
    parts = [
        _opening(random, hero),
        f"{random.choice(_TIMES)} {hero.he} gave a feast {place}.",
        *(f"The {guest.name} brought {dish}." for guest, dish in zip(guests, dishes, strict=True)),
        f"{capital(listed([f'the {guest.name}' for guest in guests]))} danced until the stars came out.",
        f'"Let us do that again," said {hero.name}.',
    ]
    facts = [
        ("Where was the feast?", f"The feast was {place}."),
        *(
            (f"What did the {guest.name} bring?", f"The {guest.name} brought {dish}.")
            for guest, dish in zip(guests, dishes, strict=True)
        ),
        (f"Who brought {dishes[1]}?", f"The {guests[1].name} brought it."),
    ]
    return _told(random, parts, facts + _who(hero))


_PLOTS: tuple[Callable[[Random, Wish], Story], ...] = (
    _lost,
    _giant,
    _cold,
    _stranger,
    _noise,
    _quarrel,
    _seed,
    _feast,
)
