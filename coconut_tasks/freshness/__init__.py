"""What is stale and why, and what a run would do."""
