"""Talking line by line: for screen readers, simple terminals and pipes. What is written is never written over.

The same conversations, turns and settings as in the window, of which nothing here knows.
"""
