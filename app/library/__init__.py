"""Models: what is on disk, what can be fetched, what fits in memory. Reads configurations, never weights."""
