"""The error for everything a user can put right."""

from __future__ import annotations


class InputError(ValueError):
    """A file, folder or argument of the user is not what it should be; the message says what would be right."""
