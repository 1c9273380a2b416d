"""Conversations: the store, the message tree, and text made safe to show. No models, no screen."""
