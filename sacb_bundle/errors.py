"""The error for everything a user can fix."""

from __future__ import annotations

import traceback


class InputError(ValueError):
    """A file, folder or argument from the user is invalid; the message says what is expected."""


def reason_of(error: BaseException) -> InputError | None:
    """Return the `InputError` among the causes of an error (MONAI wraps errors in others), or None.

    An error of the system about a file, such as a name that is too long, becomes one.
    """
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, InputError):
            return reason
        if isinstance(reason, OSError) and reason.filename is not None:
            return InputError(f"{reason.filename}: {reason.strerror}.")
        reason = reason.__cause__
    return None


def _message_of(error: BaseException) -> str:
    """Return the message of an error for the user."""
    reason = reason_of(error)
    if reason is not None:
        return str(reason)
    while error.__cause__ is not None:  # MONAI wraps errors in less specific ones
        error = error.__cause__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def failure_of(error: BaseException) -> dict[str, str]:
    """Return the message of an error as "error", and the "traceback" unless it is an `InputError`."""
    failure = {"error": _message_of(error)}
    if reason_of(error) is None:
        failure["traceback"] = "".join(traceback.format_exception(error))
    return failure
