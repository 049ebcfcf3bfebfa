"""The error for everything a user can fix."""

from __future__ import annotations


class InputError(ValueError):
    """A file, folder or argument from the user is invalid; the message says what is expected."""


def reason_of(error: BaseException) -> InputError | None:
    """Return the `InputError` among the causes of an error (MONAI wraps errors in others), or None."""
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, InputError):
            return reason
        reason = reason.__cause__
    return None
