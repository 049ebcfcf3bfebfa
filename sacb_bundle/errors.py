"""The error for everything a user can put right."""

from __future__ import annotations

import traceback


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


def message_of(error: BaseException) -> str:
    """Return the message of an error for the user."""
    reason = reason_of(error)
    if reason is not None:
        return str(reason)
    while error.__cause__ is not None:  # MONAI wraps errors in others, which say less
        error = error.__cause__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def failure_of(error: BaseException) -> dict[str, str]:
    """Return an error for the user, and, where the user cannot put it right, a traceback for the programmer."""
    failure = {"error": message_of(error)}
    if reason_of(error) is None:
        failure["traceback"] = "".join(traceback.format_exception(error))
    return failure
