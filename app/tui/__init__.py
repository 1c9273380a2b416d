"""The Textual front end. It paints, stores and asks; it never imports MLX."""
