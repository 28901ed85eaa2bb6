"""Our own commands, one module each; what they have in common is in ``tasks``."""
