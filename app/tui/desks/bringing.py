"""Models coming and going: the library at the window, downloads, searches on the Hub, deletions."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import words
from app.chat.text import one_line
from app.errors import QuietlyError
from app.tui.following import aside, in_place
from app.tui.room import Room

if TYPE_CHECKING:
    from textual.worker import Worker

    from app.library.fit import Fit
    from app.library.hub import Found
    from app.library.licences import Unagreed
    from app.library.local import InstalledModel
    from app.tui.desks.conversations import Act
    from app.tui.desks.models import Models
    from app.tui.library import Stock
    from app.tui.screens.models import Item, ModelsScreen

_NO_HUB = "no answer from the Hub"
_NAMED = 60
"""Cells of a name in a sentence."""


class Bringing:
    """What is known of each model, and what can be done with it."""

    def __init__(self, room: Room, models: "Models", tune: Callable[[str], object]) -> None:
        """`tune` is called with the name of the model whose settings are wanted."""
        self._room, self._models, self._tune = room, models, tune
        self._stock: Stock | None = None
        self._used: dict[str, float] = {}
        self._found: tuple[Found, ...] = ()
        self._fits: dict[str, Fit] = {}
        """Of what was found, by its repository."""
        self._said = ""
        """What is going on, or went wrong, with the Hub."""
        self._screen: ModelsScreen | None = None
        self._asking: Worker[None] | None = None
        """What is being asked of the Hub."""
        self._awaited: set[str] = set()
        """The repositories whose end is waited for, to be said."""
        self.acts: dict[str, Act] = {"model.library": lambda typed: self.open(typed=typed)}
        room.library.listen(self.told)
        models.on_looked = self._look

    # --- rows of the sidebar ---

    def choose_row(self, key: str) -> None:
        """A row was chosen: use the model at this path, or show how its download stands."""
        model = self._room.shelf.find(key)
        if key.startswith("download:"):
            self.open(key)
        elif model is not None and model.unfinished is not None:
            self.open(f"model:{key}")
        else:
            self._models.choose(key)

    def more(self) -> None:
        """Show what else could be had; to one who has nothing yet, the ways to begin."""
        if any(model.problem is None for model in self._room.shelf.models):
            self.open()
        else:
            self._models.add()

    def act_on_row(self, key: str, act: str) -> None:
        """Do with the model of a row what `act` says."""
        self.act(key if key.startswith("download:") else f"model:{key}", act)

    # --- the library on the screen ---

    def open(self, at: str = "", typed: str = "") -> None:
        """Show the library, at the item with the key `at` and with `typed` in its line."""
        from app.tui.screens.models import ModelsScreen

        if self._screen is not None:
            self._screen.type(typed.strip())
            return
        self._said = ""
        self._screen = ModelsScreen(
            self.items,
            self.act,
            self.search,
            self.add_folder,
            lambda: (self._stock.machine if self._stock is not None else "Looking at this machine…", self._said),
            at or self._chosen_key(),
            typed.strip(),
        )
        self._room.app.push_screen(self._screen, lambda _: self._left())
        self._look()

    def _left(self) -> None:
        self._screen = None
        if self._asking is not None:
            self._asking.cancel()

    def _chosen_key(self) -> str:
        from app.tui.stock import model_key

        chosen = self._room.shelf.chosen
        return model_key(chosen) if chosen is not None else ""

    def _look(self) -> None:
        """Find out aside how everything fits, and when it was used, where somebody sees it."""
        room = self._room
        if self._screen is None or not room.looked:
            return

        async def look() -> None:
            models, context = room.shelf.models, room.settings.generation.context
            self._stock = await asyncio.to_thread(room.library.stock, models, context)
            self._used = await asyncio.to_thread(room.stores.disk.models_used)
            self._tell()

        in_place(room.app, "stock", look)

    def told(self) -> None:
        """Something has come further, or a model has moved: say so wherever it shows."""
        self._room.tell_models()
        self._tell()

    def _tell(self) -> None:
        if self._screen is not None:
            self._screen.tell()

    def items(self) -> "list[Item]":
        """Everything the library shows, in its order."""
        from app.tui import stock, telling

        room, today = self._room, self._room.today()
        coming, fits = room.library.coming, self._stock.fits if self._stock is not None else {}
        known = {one.repo.casefold() for one in coming}
        chosen = room.shelf.chosen
        found = [stock.coming(one) for one in coming]
        for model in room.shelf.models:
            if model.unfinished is not None and (model.repo or "").casefold() in known:
                continue
            found.append(
                stock.installed(
                    model,
                    fits.get(str(model.path)),
                    chosen=chosen is not None and chosen.path == model.path,
                    state=telling.model_state(model, room.conductor),
                    used=self._used.get(model.name),
                    today=today,
                )
            )
        known |= {model.repo.casefold() for model in room.shelf.models if model.repo}
        starter = any(model.source == "starter" for model in room.shelf.models)
        found += [
            stock.offered(offer, fits.get(offer.reference))
            for offer in (self._stock.offers if self._stock is not None else ())
            if offer.repo.casefold() not in known and (offer.repo or not starter)
        ]
        found += map(stock.waiting, self._stock.waiting if self._stock is not None else ())
        found += [stock.found(one, self._fits.get(one.repo)) for one in self._found if one.repo.casefold() not in known]
        return found

    # --- what is done with one ---

    def act(self, key: str, act: str) -> None:
        """Do with the item of this key what `act` says, or say why that cannot be."""
        item = next((one for one in self.items() if one.key == key), None)
        if item is None:
            return
        if act == "menu":
            self._menu(item)
            return
        row = next((one for one in item.acts if one.id == act), None)
        if row is None:
            return
        if not row.enabled:
            self._room.say(f"{one_line(item.name, _NAMED)}: {row.why}.")
            return
        kind, _, rest = key.partition(":")
        if kind == "model":
            model = self._room.shelf.find(rest)
            if model is not None:
                self._with_model(model)[act]()
        elif kind == "download":
            {"pause": self._pause, "remove": self._ask_to_cancel}[act](rest)
        elif kind == "found":
            self._ask(partial(self._look_up, rest))
        else:
            self._ask_to_get(item, rest)

    def _menu(self, item: "Item") -> None:
        from app.tui.screens.menu import Menu

        def chosen(act: str | None) -> None:
            if act is not None:
                self.act(item.key, act)

        if item.acts:
            self._room.app.push_screen(Menu(one_line(item.name, _NAMED), item.acts), chosen)

    def _with_model(self, model: "InstalledModel") -> dict[str, Callable[[], object]]:
        return {
            "use": partial(self._use, model),
            "get": lambda: self._get(model.repo or "", model.name),
            "inspect": partial(self._inspect, model),
            "tokens": partial(self._tokens, model),
            "tune": lambda: self._tune(model.name),
            "quantise": partial(self._quantise, model),
            "unload": partial(self._unload, model),
            "remove": partial(self._ask_to_remove, model),
        }

    def _use(self, model: "InstalledModel") -> None:
        if self._screen is not None:
            self._screen.end()
        self._models.choose(str(model.path))

    def _inspect(self, model: "InstalledModel") -> None:
        from app.tui.screens.inspecting import InspectScreen

        self._room.app.push_screen(InspectScreen(str(model.path), self._room.shelf.folders))

    def _tokens(self, model: "InstalledModel") -> None:
        from app.tui.screens.tokens import TokensScreen

        self._room.app.push_screen(TokensScreen(self._room.conductor.pool, model, self._room.shelf.folders))

    def _quantise(self, model: "InstalledModel") -> None:
        from app.tui.screens.quantising import QuantiseScreen

        def made(path: Path | None) -> None:
            if path is not None:
                self._models.look()

        self._room.app.push_screen(QuantiseScreen(model), made)

    def _unload(self, model: "InstalledModel") -> None:
        aside(self._room.app, partial(self._room.conductor.unload, model.path))

    # --- deleting ---

    def _ask_to_remove(self, model: "InstalledModel") -> None:
        from app.tui.screens.asking import Confirm

        room, named = self._room, one_line(model.name, _NAMED)

        async def ask() -> None:
            if model.path in room.shelf.folders and not await asyncio.to_thread(model.path.exists):
                self._forget(model)
                return
            removal = await asyncio.to_thread(room.library.removal, model)
            if removal.refusal:
                room.say(removal.refusal)
                return
            places = "\n".join(one_line(str(path), 200) for path in removal.paths[:3])
            detail = f"{words.size(removal.frees)} become free. {removal.sentence}\n{places}"
            room.app.push_screen(Confirm(f"Delete {named}?", "Delete", detail), answered)

        def answered(yes: bool | None) -> None:
            if yes:
                aside(room.app, remove)

        async def remove() -> None:
            await room.conductor.unload(model.path)
            try:
                freed = await asyncio.to_thread(room.library.remove, model)
                room.say(f"{named} is deleted; {words.size(freed)} are free again.")
                room.shelf.drop_folder(model.path)
            finally:
                self._models.look()

        aside(room.app, ask)

    def _forget(self, model: "InstalledModel") -> None:
        """Take a folder that was added by hand, and is no longer there, off the list."""
        self._room.shelf.drop_folder(model.path)
        self._room.say(f"{one_line(model.name, _NAMED)} is no longer there, and off the list.")
        self._models.look()

    # --- fetching ---

    async def _look_up(self, repo: str) -> None:
        """What a search says of a model is an estimate: ask for the rest before anything is fetched."""
        from app.tui import stock

        room = self._room
        self._say(f"Asking the Hub about {one_line(repo, _NAMED)}…")
        try:
            one = await room.library.look_up(repo)
        except QuietlyError as error:
            self._say(str(error))
            room.refused(error)
            return
        self._fits |= await asyncio.to_thread(room.library.fits, (one,), room.settings.generation.context)
        self._found = tuple(one if known.repo == repo else known for known in self._found)
        self._say("")
        self._ask_to_get(stock.found(one, self._fits[repo]), repo)

    def _ask_to_get(self, item: "Item", reference: str) -> None:
        from app.tui.screens.asking import Confirm

        facts = dict(item.facts)
        priced = ", ".join(
            filter(None, (facts.get("Download", ""), f"licence {facts['Licence']}", f"from {facts['From']}"))
        )
        detail = f"{priced[:1].upper()}{priced[1:]}.\n{item.says}\nA download that is cut off goes on from there."

        def answered(yes: bool | None) -> None:
            if not yes:
                return
            if item.key.startswith("offer:") and "/" not in reference:
                self._bring_starter()
            else:
                self._get(reference, item.name)

        self._room.app.push_screen(
            Confirm(f"Download {one_line(item.name, _NAMED)}?", "Download", detail, harmless=True), answered
        )

    def _get(self, repo: str, name: str, agreed: bool = False) -> None:
        """Begin a download, or go on with one; it is told in the sidebar and here how far it is.

        Where its licence restricts the use of the model, that is asked before anything comes, unless it was `agreed`.
        """
        from app.library.licences import Unagreed

        room = self._room
        if repo in self._awaited:
            room.library.downloads.resume(repo)
            return
        self._awaited.add(repo)

        async def get() -> None:
            try:
                await room.library.downloads.start(repo, agreed=agreed)
            except Unagreed as unagreed:
                self._ask_to_agree(unagreed, name)
                return
            except QuietlyError as error:
                room.refused(error)
                return
            finally:
                self._awaited.remove(repo)
                self.told()
            room.say(f"{one_line(name, _NAMED)} is here. Choose it from the list of models.")
            self._models.look()

        aside(room.app, get)

    def _ask_to_agree(self, unagreed: "Unagreed", name: str) -> None:
        from app.tui.screens.asking import ask_to_agree

        room, repo = self._room, unagreed.repo

        def answered(yes: bool | None) -> None:
            if yes:
                self._get(repo, name, agreed=True)
            else:
                aside(room.app, partial(room.library.downloads.cancel, repo))

        room.app.push_screen(ask_to_agree(one_line(name, _NAMED), unagreed.terms), answered)

    def _bring_starter(self) -> None:
        room = self._room

        async def bring() -> None:
            room.say("Bringing the starter; one moment.")
            await room.library.bring_starter()
            room.say("The starter is here.")
            self._models.look()

        aside(room.app, bring)

    def _pause(self, repo: str) -> None:
        downloads = self._room.library.downloads
        one = next((one for one in downloads.all if one.repo == repo), None)
        if one is None:
            return
        if one.state in ("running", "waiting"):
            downloads.pause(repo)
        else:
            self._get(repo, one.name)

    def _ask_to_cancel(self, repo: str) -> None:
        from app.tui.screens.asking import Confirm

        room = self._room

        def answered(yes: bool | None) -> None:
            if yes:
                aside(room.app, cancel)

        async def cancel() -> None:
            if all(one.repo != repo for one in room.library.coming):
                return  # it has come meanwhile
            freed = await room.library.downloads.cancel(repo)
            room.say(f"The download of {one_line(repo, _NAMED)} is cancelled; {words.size(freed)} are free again.")
            self._models.look()

        room.app.push_screen(
            Confirm(
                f"Cancel the download of {one_line(repo, _NAMED)}?",
                "Cancel the download",
                "What has come so far is deleted.",
            ),
            answered,
        )

    # --- looking elsewhere ---

    def search(self, typed: str) -> None:
        """Look for `typed` on the Hub."""
        room = self._room

        async def search() -> None:
            self._say(f"Searching the Hub for “{one_line(typed, _NAMED)}”…")
            try:
                self._found = await room.library.search(typed)
            except QuietlyError as error:
                self._found = ()
                room.hub = _NO_HUB
                self._say(str(error))
                room.tell_models()
                return
            room.hub = ""
            self._fits = await asyncio.to_thread(room.library.fits, self._found, room.settings.generation.context)
            count = len(self._found)
            said = f"{count} models" if count > 1 else "one model" if count else "nothing that runs here"
            self._say(f"The Hub has {said} by “{one_line(typed, _NAMED)}”.")
            room.tell_models()
            if self._screen is not None and self._found:
                self._screen.point(f"found:{self._found[0].repo}")

        self._ask(search)

    def _ask(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Ask the Hub in place of what is being asked of it; leaving the library ends it."""
        self._asking = in_place(self._room.app, "hub", work)

    def _say(self, said: str) -> None:
        self._said = said
        self._tell()

    def add_folder(self) -> None:
        """Ask for a folder with models, and take it in."""
        from app.tui.screens.asking import AskLine

        room = self._room

        def named(typed: str | None) -> None:
            if typed is not None and typed.strip():
                aside(room.app, partial(add, typed.strip()))

        async def add(typed: str) -> None:
            path = await asyncio.to_thread(room.library.folder, typed, room.shelf.folders)
            room.shelf.add_folder(path)
            self._models.look()

        detail = "A folder with config.json and safetensors files, a GGUF or .pth file, or a folder of such"
        room.app.push_screen(AskLine("Where are the models?", "", detail, longest=4096), named)
