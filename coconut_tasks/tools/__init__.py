"""The command lines of the tools: one module for each tool, each a pure function to a ``Command``.

The words and their order are those of the old builders (``build.py`` and ``xbuild``), so that a user can compare logs.
"""
