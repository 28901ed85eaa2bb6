"""The recipe format: its text, its rules, its values, its reference page, a first recipe."""
