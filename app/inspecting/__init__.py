"""What a model is made of and what it costs, and what its tokens are: told from its files, without computing with it.

`reading` and `vocabulary` read, `figures` and `rows` put it into words and tables, `told` lays those out; `apart` lets
a process of its own (`reader`) do the reading, so that the window neither waits for a stranger's file nor keeps it.
"""
