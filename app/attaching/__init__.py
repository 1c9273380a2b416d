"""Files that a person gives along with a message, read into text.

Files are hostile: each is read by a process of its own, with limits of time and memory and without a way to
speak to anybody, which is killed where nobody waits for it any more. Knows neither the screen nor engines.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.chat.store import Attachment


async def read(path: Path) -> "Attachment":
    """The text of a text, source or PDF file.

    The text is storable and otherwise as it is in the file. QuietlyError says in one sentence why a file cannot be
    read. Cancelling ends the reading at once.
    """
    from app.attaching.process import read_apart
    from app.chat.store import Attachment

    name, text = await read_apart(path)
    return Attachment(name=name, text=text)
