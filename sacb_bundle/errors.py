"""The error for everything a user can put right."""

from __future__ import annotations


class InputError(ValueError):
    """A file, folder or argument of the user is not what it should be; the message says what would be right."""


def reason_of(error: BaseException) -> InputError | None:
    """The `InputError` behind an error, which MONAI wraps in others; None if there is none."""
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, InputError):
            return reason
        reason = reason.__cause__
    return None
