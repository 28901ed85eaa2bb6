"""What a step reads. Nothing here writes to disk, except caches and notes."""
