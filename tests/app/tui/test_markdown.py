"""Markdown to rows: nothing lost, nothing too wide, and the same rows however the text arrived."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style

from app.chat.text import visible
from app.tui.markdown.highlight import code_lines
from app.tui.markdown.live import LiveMarkdown
from app.tui.markdown.render import Renderer
from app.tui.markdown.rows import Palette, Row, cells, wrap
from app.tui.markdown.spots import Spot, spot_at, spots
from app.tui.markdown.tables import NARROWEST, column_widths
from app.tui.widgets.look import PARTS

PLAIN: Palette = defaultdict(Style)
NAMED: Palette = {part: Style(color=f"color({number})") for number, part in enumerate(PARTS)}

LETTERS = st.text(st.sampled_from("ab c  日本語、。「」é👩‍👧❤️\u0301-x"), max_size=120)
BLOCKS = st.sampled_from(
    [
        "Some *plain* words with `code`, **bold** and more of them to wrap.\n",
        "Words\nover\ntwo lines\n",
        "# Heading\n",
        "Setext\n===\n",
        "- one\n- two\n  - nested\n\n- loose\n",
        "1. one\n2. two\n",
        "10. ten\n\n    still ten\n",
        "> quoted\nlazily\n\n> > deep\n",
        "```python\nif a:\n    'x'  # y\n```\n",
        "~~~\nnot ``` closed yet\n\n~~~\n",
        "  ```\n   indented\n  ```\n",
        "    indented code\n",
        "| a | b |\n|---|--:|\n| 1 | 日本 |\n",
        "text before\n| a | b |\n|---|---|\n",
        "---\n",
        "<div>\n*html*\n</div>\n",
        "- [ ] task\n- [x] done\n",
        "para\n#hashtag\n",
        "[a](https://x.example) ![b](c.png)\n",
        "\n",
        "\n\n",
        "- item\n\n      code in item\n\n\n  after\n",
        "* * *\n",
        "a\\\nb\n",
        "$x_1$ [^1] &amp;\n",
    ]
)
DOCUMENTS = st.lists(BLOCKS, max_size=8).map("".join)


def rendered(text: str, width: int = 60, palette: Palette = PLAIN) -> Renderer:
    renderer = Renderer(width, palette)
    renderer.markdown(text)
    return renderer


def lines(text: str, width: int = 60) -> list[str]:
    return [row.text.rstrip() for row in rendered(text, width).rows]


def width_of(row: Row) -> int:
    return sum(cells(segment.text) for segment in row.segments)


@given(LETTERS, st.integers(2, 40))
def test_wrapping_keeps_every_character_in_order_and_every_row_within_the_width(text: str, width: int) -> None:
    ranges = wrap(text, width)
    position = 0
    for start, stop in ranges:
        assert text[position:start].strip(" ") == ""
        assert position <= start <= stop
        assert cells(text[start:stop]) <= width
        position = stop
    assert text[position:].strip(" ") == ""


@settings(max_examples=60)
@given(st.text(max_size=300), st.integers(8, 60))
def test_no_text_makes_a_row_wider_than_the_width(text: str, width: int) -> None:
    assert all(width_of(row) <= width for row in rendered(visible(text), width).rows)


@settings(max_examples=60)
@given(DOCUMENTS, st.integers(8, 90))
def test_no_markdown_makes_a_row_wider_than_the_width(text: str, width: int) -> None:
    assert all(width_of(row) <= width for row in rendered(text, width).rows)


@given(st.lists(st.text(st.sampled_from("abc 日本語"), min_size=1, max_size=60), max_size=8), st.integers(10, 50))
def test_plain_text_is_kept_to_the_character_but_for_spaces_at_the_ends_of_rows(words: list[str], width: int) -> None:
    text = "\n".join(words)
    renderer = Renderer(width, PLAIN)
    renderer.plain(text, Style())
    shown = "".join(row.content + row.join for row in renderer.rows)
    assert "".join(shown.split()) == "".join(text.split())


@settings(max_examples=150)
@given(DOCUMENTS, st.lists(st.integers(0, 400), max_size=6), st.sampled_from([20, 60]))
def test_text_that_arrives_in_pieces_ends_as_the_same_rows_as_text_that_was_there_at_once(
    text: str, cuts: list[int], width: int
) -> None:
    text += "\nThe end."
    live = LiveMarkdown(width, NAMED)
    for cut in [*sorted(cuts), len(text)]:
        live.update(text[:cut])
    at_once = rendered(text, width, NAMED)
    assert [(row.text, row.segments) for row in live.rows] == [(row.text, row.segments) for row in at_once.rows]
    assert live.codes == at_once.codes


def test_a_long_open_fence_keeps_its_text_when_it_is_frozen_in_chunks() -> None:
    code = "\n".join(f"x{number} = {number}" for number in range(500))
    text = f"Look:\n\n```python\n{code}\n```\nDone."
    live = LiveMarkdown(60, PLAIN)
    for end in range(0, len(text) + 1, 97):
        live.update(text[:end])
    live.update(text)
    assert [row.text for row in live.rows] == [row.text for row in rendered(text).rows]
    assert live.codes == [code]


def test_lists_align_what_goes_on_below_their_markers() -> None:
    assert lines("9. word " + "word " * 5 + "\n10. next\n    - in\n", 20) == [
        " 9. word word word",
        "    word word word",
        "10. next",
        "    ◦ in",
    ]


def test_tight_lists_have_no_blank_rows_and_loose_ones_do() -> None:
    assert lines("- a\n- b\n") == ["• a", "• b"]
    assert lines("- a\n\n- b\n") == ["• a", "", "• b"]


def test_tasks_show_their_state_in_place_of_a_bullet() -> None:
    assert lines("- [ ] open\n- [x] done\n") == ["☐ open", "☑ done"]


def test_links_and_images_show_where_they_lead() -> None:
    assert lines("[here](https://x.example/y) <https://z.example> ![cat](cat.png)") == [
        "here ⟨https://x.example/y⟩ https://z.example cat ⟨cat.png⟩",
    ]


def linked(text: str, width: int = 60) -> list[tuple[str, str]]:
    """(letters, target) of every hot stretch of a link."""
    return [
        (row.text[start:stop], str(spot.value))
        for row in rendered(text, width).rows
        for start, stop, spot in spots(row)
        if spot.kind == "link"
    ]


def test_a_link_is_hot_on_its_text_and_on_its_target_on_every_row_it_takes() -> None:
    assert linked("go [to this place](https://x.example) now", 16) == [
        ("to this place", "https://x.example"),
        ("⟨https://x.examp", "https://x.example"),
        ("le⟩", "https://x.example"),
    ]


def test_a_bare_address_is_a_link_without_the_punctuation_of_its_sentence() -> None:
    assert linked("Look (https://x.example/a?b=1), or at http://日本.example/。") == [
        ("https://x.example/a?b=1", "https://x.example/a?b=1"),
        ("http://日本.example/", "http://日本.example/"),
    ]
    assert linked("`https://x.example` and https:// and [](https://y.example)") == [
        (" ⟨https://y.example⟩", "https://y.example"),
    ]


@settings(max_examples=60)
@given(DOCUMENTS, st.integers(8, 90))
def test_what_lies_under_a_cell_is_what_its_letters_do(text: str, width: int) -> None:
    for row in rendered(text, width).rows:
        under = [spot_at(row, cell) for cell in range(width_of(row) + 1)]
        expected: list[Spot | None] = [None] * (width_of(row) + 1)
        for start, stop, spot in spots(row):
            first = cells(row.text[:start])
            for cell in range(first, first + cells(row.text[start:stop])):
                expected[cell] = spot
        assert under == expected


def test_no_link_is_a_terminal_hyperlink() -> None:
    rows = rendered("[here](https://x.example)", palette=NAMED).rows
    assert all(segment.style is None or segment.style.link is None for row in rows for segment in row.segments)


def test_markup_of_rich_and_raw_html_are_text() -> None:
    assert lines("[bold red]x[/] <script>y</script>") == ["[bold red]x[/] <script>y</script>"]
    assert lines("<div>\nz\n</div>") == ["<div>", "z", "</div>"]


def test_quotes_keep_their_bar_on_every_row() -> None:
    assert lines("> one two three four\n>\n> five", 15) == [
        "▌ one two three",
        "▌ four",
        "▌",
        "▌ five",
    ]


def test_tables_align_their_columns_by_cells() -> None:
    assert lines("| name | size |\n|---|--:|\n| 日本 | 1 |\n| long name | 12 |") == [
        "name      │ size",
        "──────────┼─────",
        "日本      │    1",
        "long name │   12",
    ]


def test_a_table_that_cannot_fit_becomes_a_list_of_records() -> None:
    text = "| first | second | third |\n|---|---|---|\n| alpha beta | gamma delta | epsilon zeta |"
    assert lines(text, 16)[0] == "first: alpha"


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(8, 120))
def test_columns_never_take_more_than_there_is(natural: list[int], width: int) -> None:
    widths = column_widths(natural, width)
    if widths is not None:
        assert sum(widths) + 3 * (len(widths) - 1) <= width
        assert all(size >= min(wanted, NARROWEST) for size, wanted in zip(widths, natural, strict=True))


def test_code_is_coloured_without_a_change_to_its_text() -> None:
    code = "def f(x):\n\treturn 'a'  # b\n"
    runs = code_lines(code, "python", NAMED)
    assert "\n".join("".join(text for text, _ in line) for line in runs) == code.expandtabs(4)
    assert len({style for line in runs for _, style in line}) > 3


@pytest.mark.parametrize("language", ["", "nonsense", "../../etc/passwd", "python" * 20, "\\"])
def test_an_unknown_language_is_one_colour(language: str) -> None:
    assert code_lines("a = 1", language, NAMED) == [[("a = 1", NAMED["code"])]]


def test_a_code_block_remembers_its_text_and_names_its_language() -> None:
    renderer = rendered("before\n\n```rust\nfn main() {}\n```\n")
    (code,) = renderer.codes
    assert code == "fn main() {}"
    label = next(row for row in renderer.rows if any(spots(row)))
    assert label.text.split() == ["rust", "copy"]
    assert [spot for _, _, spot in spots(label)] == [Spot("copy", 0)]


HOSTILE = {
    "brackets": "[" * 5_000,
    "emphasis": "*a " * 3_000,
    "ticks": "`a" * 3_000,
    "quotes": "> " * 500 + "deep",
    "lists": "- " * 500 + "deep",
    "bars": "| a " * 500 + "\n" + "|---" * 500 + "\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_text_that_nests_without_end_is_still_shown(name: str) -> None:
    text = HOSTILE[name]
    shown = "".join(row.content for row in rendered(text).rows)
    letters = [character for character in text if character.isalpha()]
    assert [character for character in shown if character.isalpha()] == letters
