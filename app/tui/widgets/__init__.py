"""The widgets of the window, one a file."""
