"""Check that text from data, clients and the command line is not run as code by a MONAI config."""

from __future__ import annotations

from .errors import InputError

# First characters of expressions, references and macros.
MARKS = ("$", "@", "%")


def check_plain_text(value: object, where: str) -> None:
    """Check that a config would take no text in a value for code; dictionaries and lists are searched as MONAI does.

    Args:
        value: value that comes from data, a client or an option.
        where: name of the value in the error message, such as a file name.

    Raises:
        InputError: if a text, also as a key, begins with $, @ or %, or a key is one of MONAI's own, such as _target_,
            which names what to run.
    """
    if isinstance(value, str) and value.lstrip().startswith(MARKS):
        raise InputError(f"{where}: {value!r} may not begin with {', '.join(MARKS[:-1])} or {MARKS[-1]}.")
    if isinstance(value, dict):
        for key, child in value.items():
            check_plain_text(key, where)
            if isinstance(key, str) and key.startswith("_") and key.endswith("_"):
                raise InputError(f"{where}: the key {key!r} may not begin and end with an underscore.")
            check_plain_text(child, where)
    elif isinstance(value, list):
        for child in value:
            check_plain_text(child, where)
