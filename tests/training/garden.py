"""The small subject of the demonstration models: one kitchen garden, with its plants, months, weather and visitors.

Facts only, in tables, and how to speak of them; the sentences stand in `text` and `stories`. All of it is ours
(Apache-2.0). It knows no model.
"""

from dataclasses import dataclass
from pathlib import Path

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """The months from `first` to `last`, January being 0; over the turn of the year where `last` comes before."""

    first: int
    last: int

    def __contains__(self, month: int) -> bool:
        return (month - self.first) % 12 <= (self.last - self.first) % 12

    def __str__(self) -> str:
        if self.last - self.first == 11:
            return "all year round"
        return (
            f"in {MONTHS[self.first]}"
            if self.first == self.last
            else f"from {MONTHS[self.first]} to {MONTHS[self.last]}"
        )


@dataclass(frozen=True)
class Plant:
    """A plant of the garden. `name` is how a row of them is called, `one` a single one; the same where none is."""

    name: str
    one: str
    kind: str
    verb: str
    sow: Span
    pick: Span
    place: str
    depth: int
    apart: int
    light: str
    water: str
    friend: str
    foe: str
    pest: str
    dish: str
    look: str

    @property
    def many(self) -> bool:
        return self.name != self.one

    @property
    def they(self) -> str:
        return "they" if self.many else "it"

    @property
    def them(self) -> str:
        return "them" if self.many else "it"

    @property
    def words(self) -> dict[str, str]:
        """What goes with this plant in a sentence that is written for all of them."""
        do = self.does("do")
        return {"they": self.they, "them": self.them, "do": do, "Do": capital(do), "are": self.does("are")}

    def does(self, verb: str) -> str:
        """`verb` as it goes with this plant: carrots need, basil needs."""
        irregular = {"are": "is", "have": "has", "do": "does", "go": "goes"}
        return verb if self.many else irregular.get(verb, f"{verb}s")


@dataclass(frozen=True)
class Creature:
    """A visitor, and whether it helps."""

    name: str
    eats: str
    home: str
    helps: bool
    habit: str


@dataclass(frozen=True)
class Tool:
    name: str
    task: str


@dataclass(frozen=True)
class Weather:
    """`now`: how somebody says that it is so; `advice`: what to do then."""

    word: str
    now: tuple[str, ...]
    advice: tuple[str, ...]
    mood: str


REMEDIES = {
    "carrot flies": "Cover the row with a fine net.",
    "onion flies": "Change the bed every year and put carrots beside the onions.",
    "rust": "Take off the spotted leaves and leave more air between the plants.",
    "beetles": "Pick them off by hand in the morning.",
    "blight": "Keep the leaves dry, with a roof above them.",
    "pigeons": "Stretch a net over the bed.",
    "aphids": "Wash them off with water and leave the rest to the ladybirds.",
    "slugs": "Collect them in the evening and be kind to the toad.",
    "leaf miners": "Pick off the leaves that show pale tunnels.",
    "caterpillars": "Look under the leaves every day and pick them off.",
    "leek moths": "Cover the bed with a fine net.",
    "flea beetles": "Keep the soil wet; they like it dry.",
    "sparrows": "Stretch threads over the young plants.",
    "mildew": "Water the soil and never the leaves.",
    "mice": "Ask the cat to sit there for a while.",
    "blackbirds": "Lay a net over the berries when they turn red.",
    "sawflies": "Shake the bush over a cloth every morning.",
}

# name | eats | home | helps | habit
_CREATURES = """
hedgehog|slugs and beetles|under the heap of leaves|yes|comes out at dusk and snuffles
robin|worms and spiders|in the ivy|yes|follows the spade and sings in winter
blackbird|worms and berries|in the hedge|no|sings from the roof in the evening
toad|slugs and snails|under the flat stone|yes|sits still all day and hunts at night
ladybird|aphids|under the bark|yes|eats fifty aphids a day
bee|nectar|in the hive behind the shed|yes|carries pollen from flower to flower
snail|young leaves|on the wet wall|no|carries a house and is never in a hurry
worm|dead leaves|deep in the soil|yes|makes the soil loose and rich
mole|worms and grubs|in a tunnel below the lawn|no|throws up hills of earth overnight
wren|spiders and grubs|in the woodpile|yes|is tiny and sings very loudly
butterfly|nectar|among the nettles|yes|drinks from the flowers at noon
cat|mice|on the bench by the door|yes|sleeps in the sun and pretends to watch
mouse|seeds and peas|behind the flowerpots|no|carries seeds away at night
frog|flies and slugs|in the pond|yes|sings when the nights are warm
spider|flies|between the bean poles|yes|mends its web every morning
ant|sweet things|below the path|no|walks in long lines and keeps aphids
squirrel|nuts|in the old apple tree|no|buries nuts and forgets where
owl|mice|in the barn|yes|flies without a sound
"""

# name | task
_TOOLS = """
spade|dig over the bed
fork|loosen the soil without turning it
rake|make the bed smooth
hoe|cut the weeds between the rows
trowel|plant out small plants
watering can|water the young plants
wheelbarrow|carry compost
dibber|make holes for leeks and seeds
shears|cut the hedge
knife|cut herbs and lettuce
sieve|make fine soil for seeds
broom|sweep the path
bucket|carry weeds to the compost heap
ladder|reach the apples
"""

TASKS = (
    ("look through the seeds", "draw a plan of the beds", "feed the birds", "sharpen the tools"),
    ("sow tomatoes on the windowsill", "sow leeks on the windowsill", "clean the pots", "cut the raspberry canes"),
    ("rake the beds smooth", "sow carrots and peas", "sow the first radishes", "plant the onions"),
    ("plant the potatoes", "sow chard and beetroot", "sow pumpkins on the windowsill", "pick the first rhubarb"),
    ("plant out the tomatoes after the last frost", "sow beans and sweetcorn", "hoe the weeds", "collect the slugs"),
    ("pick strawberries", "water in the evening", "sow the last peas", "tie up the tomatoes"),
    ("pick peas and beans", "lift the garlic", "water early in the morning", "sow lettuce again"),
    ("pick tomatoes every day", "plant strawberries", "dry the onions", "cook jam"),
    ("lift the potatoes", "bring in the pumpkins", "sow the last spinach", "save seeds for next year"),
    ("plant the garlic", "plant raspberries", "rake up leaves for the hedgehog", "spread compost"),
    ("plant gooseberries", "cover the beds with leaves", "empty the water barrel", "clean the tools"),
    ("pick kale after the frost", "pull leeks and parsnips", "feed the birds", "drink tea and rest"),
)

WEATHERS = (
    Weather("rain", ("it is raining", "it rains all day", "it is pouring", "we have rain"),
            ("You need not water today", "Empty the saucers", "Watch out for slugs in the evening",
             "Stay off the beds while they are wet"), "The beans will be glad."),
    Weather("sun", ("the sun is shining", "it is sunny", "it is a bright day", "we have sunshine"),
            ("Hoe the weeds, they dry up at once", "Water in the evening", "Pick herbs at noon",
             "Hang the onions up to dry"), "The bees are out."),
    Weather("frost", ("there is frost", "it is freezing", "we had frost last night", "there is ice on the barrel"),
            ("Cover the young plants", "Bring the pots indoors", "Leave the kale alone, it gets sweeter",
             "Do not walk on the grass"), "The soil sleeps."),
    Weather("wind", ("it is windy", "a strong wind blows", "it is stormy", "there is a storm"),
            ("Tie up the tomatoes", "Check the bean poles", "Close the greenhouse",
             "Put the pots behind the wall"), "Hold on to your hat."),
    Weather("heat", ("it is very hot", "the heat is terrible", "it is boiling", "we have a heat wave"),
            ("Water early in the morning", "Give the lettuce some shade", "Put leaves around the plants",
             "Rest at noon"), "Even the snail has closed its door."),
    Weather("fog", ("it is foggy", "there is fog", "the fog is thick", "I see nothing but fog"),
            ("Wait until it lifts", "Do not water today", "Look for mildew on the leaves",
             "Sort the seeds in the shed"), "The spiders' webs look like lace."),
    Weather("snow", ("it is snowing", "there is snow", "snow lies on the beds", "we have snow"),
            ("Leave the snow, it keeps the beds warm", "Feed the birds", "Shake the snow from the hedge",
             "Read about seeds by the stove"), "The garden is white and quiet."),
    Weather("drought", ("it has not rained for weeks", "it is very dry", "the soil is dust", "we have a drought"),
            ("Water seldom but deeply", "Put leaves around the plants", "Hoe the soil, it then keeps its water",
             "Save the water from the kitchen"), "The rosemary does not mind."),
)  # fmt: skip


def _span(text: str) -> Span:
    first, last = (int(number) - 1 for number in text.split("-"))
    return Span(first, last)


def _plant(line: str) -> Plant:
    name, one, kind, verb, sow, pick, place, depth, apart, *rest = line.split("|")
    return Plant(name, one, kind, verb, _span(sow), _span(pick), place, int(depth), int(apart), *rest)


def _creature(line: str) -> Creature:
    name, eats, home, helps, habit = line.split("|")
    return Creature(name, eats, home, helps == "yes", habit)


def _tool(line: str) -> Tool:
    name, task = line.split("|")
    return Tool(name, task)


PLANTS = tuple(map(_plant, Path(__file__).with_name("plants.txt").read_text(encoding="utf-8").split("\n")[1:-1]))
CREATURES = tuple(map(_creature, _CREATURES.split("\n")[1:-1]))
TOOLS = tuple(map(_tool, _TOOLS.split("\n")[1:-1]))


def a(noun: str) -> str:
    """`noun` with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def listed(things: list[str] | tuple[str, ...], word: str = "and") -> str:
    """One, two and three."""
    return f"{', '.join(things[:-1])} {word} {things[-1]}" if len(things) > 1 else things[0]
