"""Code made by protoc: see README.md here."""
