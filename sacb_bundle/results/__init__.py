"""Folders of results: complete, locked while they are written, and with a record of how they were made."""
