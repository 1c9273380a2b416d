"""HTML taken apart: which elements it has, what people read in it, and that every one of them is closed."""

from html.parser import HTMLParser

_VOID = {"br", "hr", "meta", "img", "input"}


class Element:
    """An element with its attributes, and all text below it."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.text = ""
        self.comments: list[str] = []


class Page(HTMLParser):
    """The elements of a document in their order; AssertionError where one is closed that is not open."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(document)
        self.close()
        assert not self._open, [each.tag for each in self._open]

    def all(self, tag: str, name: str = "") -> list[Element]:
        """The elements of this tag, and of this class where one is given."""
        found = [each for each in self.elements if each.tag == tag]
        return [each for each in found if name in (each.attributes.get("class") or "").split()] if name else found

    def texts(self, tag: str, name: str = "") -> list[str]:
        return [each.text for each in self.all(tag, name)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open, tag
            assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def handle_comment(self, data: str) -> None:
        for element in self._open:
            element.comments.append(data.strip())
