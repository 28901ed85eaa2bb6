"""Expands COCONUT-SVSM build recipes into doit tasks."""

__version__ = "0.1.0"
