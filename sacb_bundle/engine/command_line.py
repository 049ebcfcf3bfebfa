"""Check the command line of `monai.bundle`, keep the names on it, and show its errors plainly."""

from __future__ import annotations

import difflib
import inspect
import pydoc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ComponentLocator, ConfigParser
from monai.bundle.scripts import run
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from ..config_text import MARKS
from ..errors import InputError, reason_of

RUN_ARGUMENTS = {*inspect.signature(run).parameters, "workflow_name", "workflow_type"} - {"override"}
# Keys that --tracking adds to a config, and that options may set.
TRACKING_KEYS = set(dict(DEFAULT_MLFLOW_SETTINGS["configs"]))  # type: ignore[call-overload]
# Keys of the configs that hold names or paths.
NAMES = (
    "atlas", "atlas_dir", "bundle_root", "cache_dir", "checkpoint", "ckpt_dir", "data_list", "dataset_dir", "device",
    "initial", "label_interpolation", "modality", "name", "output_dir", "pairing", "raw", "resume", "template",
    "val_pairing",
)  # fmt: skip


# Whether a config is running another one, which the command line does not concern.
_within_run = ContextVar("_within_run", default=False)


@contextmanager
def within_run() -> Iterator[None]:
    """Run configs within the run of another one: the options of the command line are not theirs.

    Yields:
        None; the block of the `with` statement runs the configs.
    """
    token = _within_run.set(True)
    try:
        yield
    finally:
        _within_run.reset(token)


def show_input_errors_plainly() -> None:
    """End a `python -m monai.bundle` run with one line instead of a traceback if an `InputError` is the cause.

    MONAI wraps errors of config expressions in others, so the chain of causes is searched. Other programs are not
    affected.
    """
    if _started_by_bundle_command():
        sys.excepthook = _show_exception


def check_command_line() -> None:
    """Reject `python -m monai.bundle run` with an option that names no key of the config, or a misleading truth value.

    MONAI would add a misspelt key to the config, where it has no effect, and run with the default.

    Raises:
        InputError: if there is such an option; names the option and what is expected.
    """
    if not _started_by_bundle_command():
        return
    options, config = _options_and_config()
    known = RUN_ARGUMENTS | (TRACKING_KEYS if "tracking" in options else set())
    for option, value in options.items():
        if option not in known:
            check_key(config, option, where=str(options.get("config_file", "")))
            _check_truth_value(config, option, value)
            _check_nested_name(option, value)


def keep_names(values: dict[str, Any]) -> None:
    """Give the keys of names and paths the text that the user wrote, in `python -m monai.bundle run`.

    Fire, which reads the command line for MONAI, turns 1000_3 into 10003, 1e5 into 100000.0 and a#b into a, and MONAI
    turns # into ::. Expressions stay, and so do None, True and False. A text in further quotes counts without them, as
    for Fire.

    Args:
        values: resolved values of the config by key, before any of these keys is resolved.
    """
    if not _started_by_bundle_command():
        return
    options, config = _options_and_config()
    for name in NAMES:
        value = options.get(name, config.get(name))
        if value is not None and not isinstance(value, bool) and not str(value).startswith(MARKS):
            values[name] = str(value)


def _options_and_config() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the command line (and of a file of options), and the config without them."""
    options: dict[str, Any] = _command_line_options(sys.argv[2:])
    if "args_file" in options:
        options = ConfigParser.load_config_file(options["args_file"]) | options
    files = options.get("config_file", "")
    return options, ConfigParser.load_config_files(DefaultParseValue(files) if isinstance(files, str) else files)


def check_key(config: dict, option: str, where: str) -> None:
    """Check that an option names a key of a config.

    Args:
        config: content of the config.
        option: name of the key, with "#" or "::" between the keys above it and its own.
        where: name of the config, for the error message.

    Raises:
        InputError: if it does not; names the nearest key.
    """
    place: object = config
    for part in _key_parts(option):
        known = _known_keys(place)
        if known is not None and part not in known:
            near = difflib.get_close_matches(part, known | (RUN_ARGUMENTS if place is config else set()), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(f"--{option}: {where} has no key {part}.{hint}")
        place = _child(place, part)


def _check_truth_value(config: dict, option: str, value: object) -> None:
    """Raise an InputError if a truth value would be read as text, since any text counts as true."""
    right = str(value).title()
    place: object = config
    for part in _key_parts(option):
        place = _child(place, part)
    is_name = option in NAMES and option != "resume"
    takes_text = is_name or (isinstance(place, str) and not place.startswith(MARKS))
    if right in ("True", "False") and str(value) != right and not takes_text:
        raise InputError(f"--{option} {value}: this is read as text, and any text counts as true; write {right}.")


def _check_nested_name(option: str, value: object) -> None:
    """Raise an InputError if Fire changes a name or path below another key, where its text cannot be kept."""
    *above, name = _key_parts(option)
    if above and name in (*NAMES, "path") and isinstance(value, str) and DefaultParseValue(value) != value:
        raise InputError(f"--{option} {value}: this is not read as text; write --{option} \"'{value}'\".")


def _key_parts(option: str) -> list[str]:
    """Return the keys on the path to the value that an option sets."""
    return option.lstrip("+").replace("::", "#").split("#")


def _known_keys(place: object) -> set[str] | None:
    """Return the keys allowed below a place in a config; None if they are unknown."""
    if isinstance(place, list):
        return {str(index) for index in range(len(place))}
    if not isinstance(place, dict):
        return None
    if "_target_" not in place:
        return set(place)
    target = place["_target_"]
    module = "" if "." in target else ComponentLocator().get_component_module_name(target)
    component = pydoc.locate(f"{module}.{target}" if module else target)
    if not callable(component):
        return None
    parameters = inspect.signature(component).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters} | {"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"}


def _child(place: object, part: str) -> object:
    """Return the value under a key; None if there is none."""
    if isinstance(place, list):
        return place[int(part)]
    return place.get(part) if isinstance(place, dict) else None


def _started_by_bundle_command() -> bool:
    """Return whether `python -m monai.bundle ...` runs the config at hand, and not another config."""
    if _within_run.get():
        return False
    program = Path(sys.argv[0])
    return program.name == "__main__.py" and program.parent.name == "bundle"


def _command_line_options(arguments: list[str]) -> dict[str, Any]:
    """Return the options as Fire finds them: "--name value", "--name=value", "-name value", and "--name" for True.

    Values are text, without quotes that enclose it, or None, True or False.
    """
    options: dict[str, Any] = {}
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        if not _is_flag(argument):
            continue
        name, equals, text = argument.lstrip("-").partition("=")
        text = text if equals else "True" if _is_flag(following) else following
        value = DefaultParseValue(text)
        quoted = isinstance(value, str) and text.strip()[:1] in ("'", '"')
        options[name.replace("-", "_")] = value if quoted or value is None or isinstance(value, bool) else text
    return options


def _is_flag(argument: str) -> bool:
    """Return whether Fire takes an argument for the name of an option."""
    return bool(re.match("--|-[a-zA-Z]", argument))


def _show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the message of the `InputError` behind an error, or the traceback if there is none.

    After an interruption, say how to continue if the config has a key for it.
    """
    if isinstance(error, KeyboardInterrupt):
        _, config = _options_and_config()
        print(f"Interrupted.{' Continue with --resume True.' if 'resume' in config else ''}", file=sys.stderr)
        return
    reason = reason_of(error)
    if reason is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {reason}", file=sys.stderr)
