"""What a step reads: looked up on disk, never written there."""
