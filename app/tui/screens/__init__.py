"""Whole-window screens, each imported when first opened."""
