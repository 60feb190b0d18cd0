"""Sealing of what must not be read from a disk or a dump (docs/encryption.md)."""
