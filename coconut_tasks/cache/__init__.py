"""A cache of finished work that clones, worktrees and machines share."""
