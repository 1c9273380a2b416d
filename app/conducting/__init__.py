"""Conversations being answered: turns one after the other, what grows kept as it comes, titles at rest.

The window and the plain mode let it work and look on; it knows stores and engines, and nothing of either of them.
"""
