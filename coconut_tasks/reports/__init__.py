"""Output for users: values in, text out. Nothing here reads the disk or runs anything."""
