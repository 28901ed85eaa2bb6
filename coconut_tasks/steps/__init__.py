"""Steps, what they do and the commands that they run, as values."""
