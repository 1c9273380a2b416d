"""The parts that architectures share: attention, rotary positions, feed-forwards. They know no checkpoint."""
