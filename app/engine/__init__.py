"""The process boundary: typed messages, the client and pool of the UI side, and the worker.

Only the worker runs MLX.
"""
