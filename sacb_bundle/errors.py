"""The error for everything a user can fix."""

from __future__ import annotations

import traceback

# Longest message in characters: a damaged cell or a path may be longer than a screen.
_LONGEST_MESSAGE = 1200


class InputError(ValueError):
    """A file, folder or argument from the user is invalid; the message says what is expected.

    The message is one line that can be printed, whatever the name of a file or the content of a cell.
    """

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        if len(line) > _LONGEST_MESSAGE:
            line = f"{line[: _LONGEST_MESSAGE // 2]} ... {line[-_LONGEST_MESSAGE // 2 :]}"
        super().__init__(line)


def reason_of(error: BaseException) -> InputError | None:
    """Find the `InputError` among an error and its causes, since MONAI wraps errors in others.

    Args:
        error: error that was caught.

    Returns:
        The error itself if it is an `InputError`; otherwise the nearest cause that is one, or that is a system error
        about a file (such as a name that is too long), as an `InputError`; None if there is none.
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
    """Describe an error for the record of a case.

    Args:
        error: error that was caught.

    Returns:
        The message as "error", and the "traceback" unless an `InputError` is the reason, see `reason_of`.
    """
    failure = {"error": _message_of(error)}
    if reason_of(error) is None:
        failure["traceback"] = "".join(traceback.format_exception(error))
    return failure
