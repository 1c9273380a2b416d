"""Markdown to rows of a terminal: wrapping by cells, tables, highlighted code, and a form that grows."""
