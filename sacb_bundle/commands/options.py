"""Options shared by several verbs, and types of values."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config_text import check_plain_text
from ..errors import InputError
from ..files import check_file, check_name, specialists, weights_path
from ..registration.outputs import OUTPUTS, formats

# Steps of a bare --refine, their largest number, and similarities, as in `sacb_bundle.registration.refine`, which loads
# PyTorch.
REFINE_STEPS, MOST_REFINE_STEPS = 50, 1000
SIMILARITIES = ("auto", "lncc", "mind", "mi")
INITIAL = ("none", "center", "rigid", "affine")


def add_transform(verb: argparse.ArgumentParser, required: bool) -> None:
    """Add --transform.

    Args:
        verb: parser of the verb.
        required: whether the option must be given.
    """
    verb.add_argument(
        "--transform",
        type=file,
        required=required,
        help="transform.nii.gz of a registration, or an ITK transform (.h5, .tfm, .mat)",
    )


def add_label_interpolation(verb: argparse.ArgumentParser) -> None:
    """Add --label-interpolation.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument(
        "--label-interpolation",
        choices=("nearest", "linear"),
        default="nearest",
        help="interpolation of label maps; linear: the label with the largest linear weight (default: nearest)",
    )


def add_registration_options(verb: argparse.ArgumentParser) -> None:
    """Add the options for the registration of pairs.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument(
        "--initial",
        choices=INITIAL,
        default="affine",
        help="alignment before the network (default: affine; none for aligned scans)",
    )
    verb.add_argument(
        "--modality",
        type=word,
        metavar="NAME",
        default="auto",
        help="rule that scales intensities: mr, ct, or auto, which chooses by the distribution of the intensities "
        "(default: auto)",
    )
    verb.add_argument(
        "--spacing",
        type=spacing,
        metavar="MM",
        default="auto",
        help="spacing of the working grid (default: auto: that of the training, unless the body is of another size)",
    )
    verb.add_argument(
        "--formats",
        nargs="+",
        choices=formats(),
        default=[],
        help="also write: "
        + "; ".join(f"{name}: {OUTPUTS[name].file.replace('{', '').replace('}', '')}" for name in formats()),
    )
    add_label_interpolation(verb)
    _add_refinement(verb)
    verb.add_argument(
        "--model",
        type=weights,
        metavar="WEIGHTS",
        help="weights, with a JSON file beside them that describes them; or shipped ones by name: brain_t1, abdomen_ct "
        "(default: the shipped ones for all kinds of images)",
    )
    add_device(verb)


def _add_refinement(verb: argparse.ArgumentParser) -> None:
    """Add the options of the refinement."""
    verb.add_argument(
        "--refine",
        type=number,
        nargs="?",
        const=REFINE_STEPS,
        metavar="STEPS",
        help=f"optimise the result for each pair, in {REFINE_STEPS} steps unless given; 10 to 200 are useful, "
        f"{MOST_REFINE_STEPS} the most (default: {REFINE_STEPS} on a GPU, 0 on the CPU; 0: the network alone)",
    )
    verb.add_argument(
        "--similarity",
        choices=SIMILARITIES,
        default="auto",
        help="similarity that --refine raises: lncc for images of one contrast, mind or mi for others (default: auto, "
        "which chooses lncc or mind for each pair)",
    )
    verb.add_argument(
        "--smoothness",
        type=float,
        metavar="W",
        help="weight of the smoothness of the field in --refine (default: that of the similarity)",
    )
    verb.add_argument(
        "--diffeomorphic",
        action="store_true",
        help="remove the folds of the transform, and write its inverse, inverse.nii.gz",
    )


def add_overwrite(verb: argparse.ArgumentParser) -> None:
    """Add --overwrite.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument("--overwrite", action="store_true", help="replace files that exist already")


def add_device(verb: argparse.ArgumentParser) -> None:
    """Add --device.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument("--device", type=word, help="cpu, cuda or cuda:N (default: the first GPU, or else the CPU)")


def add_experiment_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of an experiment on a data set.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument(
        "--dataset", type=folder, required=True, metavar="DIR", help="folder with images/ and, for Dice, labels/"
    )
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    add_config(verb)
    verb.add_argument(
        "--max-epochs", type=number, metavar="N", help="number of epochs of each training (default: that of the config)"
    )
    add_device(verb)


def add_config(verb: argparse.ArgumentParser) -> None:
    """Add the option of the configs on top of those of the bundle.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument(
        "--config",
        nargs="+",
        action="extend",
        type=word,
        metavar="NAME",
        help="configs of data set and network: names in configs/datasets and configs/networks, or JSON files; later "
        "ones win",
    )


def show_log(quiet: tuple[str, ...] = ()) -> None:
    """Print the package's log, without Python warnings from libraries.

    Args:
        quiet: modules of the package that print only errors.
    """
    warnings.filterwarnings("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for module in quiet:
        logging.getLogger(f"sacb_bundle.{module}").setLevel(logging.ERROR)


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """End the process with one line, instead of a traceback, if the user interrupts it.

    Args:
        advice: sentence that says how to continue.

    Yields:
        None; the block of the `with` statement may be interrupted.

    Raises:
        SystemExit: with 130, if it is.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"Interrupted. {advice}", file=sys.stderr)
        raise SystemExit(130) from None


def given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the options that were given or have a default.

    Args:
        options: values of the options.
        names: options to return.

    Returns:
        The value of each option that is not None, by its name.
    """
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def weights(text: str) -> Path:
    """Return the path of weights.

    Args:
        text: value of the option: a file, or the name of shipped weights.

    Returns:
        The path.

    Raises:
        ArgumentTypeError: if there are no such weights.
    """
    path = weights_path(text)
    if path.suffix or len(path.parts) > 1 or path.exists():
        return file(str(path))
    raise argparse.ArgumentTypeError(
        f"{text}: no such file, and no weights of this name; the names are {', '.join(specialists())}"
    )


def file(text: str) -> Path:
    """Return the path of an existing file.

    Args:
        text: value of the option.

    Returns:
        The path as it was given.

    Raises:
        ArgumentTypeError: if there is no such file.
    """
    try:
        check_file(Path(text))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error
    return _recordable(text)


def folder(text: str) -> Path:
    """Return the path of an existing folder.

    Args:
        text: value of the option.

    Returns:
        The path as it was given.

    Raises:
        ArgumentTypeError: if there is no such folder.
    """
    if not os.path.isdir(text):  # which is false for a path that no folder can have
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return _recordable(text)


def word(text: str) -> str:
    """Return text that no config would run as code.

    Args:
        text: value of the option.

    Returns:
        The text as it was given.

    Raises:
        ArgumentTypeError: if the text begins with $, @ or %.
    """
    try:
        check_plain_text(text, "the value")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _recordable(text: str) -> Path:
    """Return the path that a text names, see `check_name`."""
    try:
        check_name(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def spacing(text: str) -> float | str:
    """Return a spacing.

    Args:
        text: value of the option: "auto", or a number of mm.

    Returns:
        The number, or "auto".

    Raises:
        ValueError: if it is neither.
    """
    return text if text == "auto" else float(text)


def number(text: str) -> int:
    """Return a whole number of at least 0.

    Args:
        text: value of the option, in decimal digits.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: if the text is not one.
    """
    if not re.fullmatch("[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text}: not a whole number of at least 0")
    return int(text)
