"""Conversations: the store, the message tree, export, and text made safe to show. No models, no screen."""
