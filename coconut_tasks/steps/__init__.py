"""Steps, their actions and their commands, as values."""
