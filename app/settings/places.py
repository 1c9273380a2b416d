"""Where Quietly keeps things: folders by the platform's custom, all of them below $QUIETLY_HOME where that is set.

Whatever they hold is the person's alone: folders are 0700, files 0600.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import platformdirs

from app.home import expanded


class Paths(msgspec.Struct, frozen=True):
    """The folders of one installation. Nothing is created by naming them; `private_folder` creates."""

    data: Path
    """What must not be lost: the conversations, and models fetched or added by hand."""
    cache: Path
    """What can be made again: converted GGUF files, and what models have read of long conversations."""
    logs: Path
    """One log per engine process, kept until the next start."""
    config: Path
    """What the person has written: the settings."""

    @classmethod
    def below(cls, root: Path) -> "Paths":
        """All of them in one folder."""
        return cls(data=root / "data", cache=root / "cache", logs=root / "logs", config=root / "config")

    @property
    def settings(self) -> Path:
        return self.config / "settings.toml"

    @property
    def database(self) -> Path:
        return self.data / "conversations.sqlite3"

    @property
    def tuned(self) -> Path:
        return self.data / "tuned.json"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def conversions(self) -> Path:
        return self.cache / "converted"

    @property
    def sessions(self) -> Path:
        return self.cache / "sessions"


def paths() -> Paths:
    """The folders in force, by $QUIETLY_HOME or the platform's custom."""
    if home := os.environ.get("QUIETLY_HOME"):
        return Paths.below(expanded(home).absolute())
    dirs = platformdirs.PlatformDirs("Quietly", appauthor=False)
    return Paths(
        data=dirs.user_data_path, cache=dirs.user_cache_path, logs=dirs.user_log_path, config=dirs.user_config_path
    )


def private_folder(folder: Path) -> Path:
    """`folder`, created where missing with all above it, and closed to everyone else."""
    for missing in reversed([above for above in folder.parents if not above.exists()]):
        missing.mkdir(exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder


@contextlib.contextmanager
def turn_in(folder: Path) -> Iterator[None]:
    """Processes that change the files of `folder` do so one after the other, each while its body runs."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
