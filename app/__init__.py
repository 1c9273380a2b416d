"""Quietly: what the person touches. The TUI, the conversations, the model library and the engine process."""

__version__ = "0.1.0"
