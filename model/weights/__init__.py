"""Checkpoints on disk: safetensors headers checked before MLX sees them, GGUF files converted once."""
