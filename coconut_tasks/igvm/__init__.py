"""IGVM files: what they contain, and what each platform measures of it. Bytes → values; nothing here knows processes or the build."""

MAGIC = b"IGVM"
"""The first four bytes of an IGVM file (IGVM specification, fixed header)."""
