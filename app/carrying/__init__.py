"""Conversations carried out of the store and into it, whole, by way of files. No engines, no models, no screen."""

from app.carrying.exporting import export, export_one, render
from app.carrying.reading import read
from app.carrying.taking_in import TakenIn, take_in
from app.carrying.tale import Branches, Format, Tale, tale_of

__all__ = ["Branches", "Format", "TakenIn", "Tale", "export", "export_one", "read", "render", "take_in", "tale_of"]
