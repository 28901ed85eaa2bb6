"""IGVM files: what is in them, and what SEV-SNP measures of them. Bytes → values; nothing here knows files, processes or the build."""

MAGIC = b"IGVM"
"""The first four bytes of an IGVM file (IGVM specification, fixed header)."""
