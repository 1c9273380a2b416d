"""The commands of the shell. Each prints what was asked for and nothing else; what else there is to say goes to
standard error."""

from app.cli.main import run

__all__ = ["run"]
