"""Prepare a data set as downloaded for training."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..checks import check_counts, check_spacing
from ..data import Template
from ..errors import InputError
from ..files import check_results, real_path
from ..quality.trust import LARGEST_SCALE, scales_too_much
from ..spatial import (
    AlignmentCache,
    Grid,
    Transform,
    Volume,
    averaged,
    check_same_grid,
    motion,
    read_image,
    resample,
    result_dtype,
    thinned,
)
from . import DATASETS
from .download import PARTS, Download, Subject
from .grid import DEFAULT_SPACING_MM, grid_around_body, shared_grid
from .prepared_folder import DESCRIPTION, RECORD, TEMPLATE, PreparedFolder

# Voxels along each axis of a label map that are looked at.
_MOST_VOXELS_LOOKED_AT = 96
# Shares of labelled voxels within the grid below the first are mentioned, and below the second doubtful.
_WORTH_MENTIONING, _LEAST_INSIDE = 0.995, 0.9
# Larger rotations are doubtful: a header, or an alignment, is wrong.
_LARGEST_TURN_DEGREES = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Template and common grid of a preparation.

    Attributes:
        grid: the common grid.
        reference: grid of the template's image.
        template: the image that subjects are aligned to; None if they are aligned.
        template_name: subject that is the template, or the name and the hash of its file.
        spacing_mm: spacing that images are averaged to.
        is_first_round: whether the template is a training subject, which their mean then replaces.
    """

    grid: Grid
    reference: Grid
    template: Template | None
    template_name: str
    spacing_mm: float
    is_first_round: bool = False

    @property
    def template_in_words(self) -> str:
        """Name of the image that the subjects are aligned to."""
        mean = "the mean of the training subjects on " if self.is_first_round else ""
        return mean + self.template_name

    def alignment(self, image: Volume, subject: Subject) -> np.ndarray:
        """Return the 4x4 matrix from the world of the template to that of a subject."""
        if self.template is None:
            check_same_grid(str(subject.files["image"]), image.grid, self.template_name, self.reference)
            return np.eye(4)
        return self.template.align(image, str(subject.files["image"]))


def prepare(
    name: str,
    raw: str | Path,
    output_dir: str | Path,
    template: str | Path = "",
    spacing_mm: float | None = None,
    size: Sequence[int] | None = None,
) -> None:
    """Turn a data set as downloaded into a folder that training takes, or continue to do so.

    Args:
        name: name of the data set, a key of `DATASETS`.
        raw: folder of the download.
        output_dir: folder of the result: images/, labels/ and masks/ (if there are any), dataset.json with the split,
            and prepared.json, the record.
        template: image that all subjects are aligned to; "" for that of the data set.
        spacing_mm: spacing of the result; None for that of the data set.
        size: numbers of voxels along the axes of the template; None for those of the data set.

    Raises:
        InputError: if an argument is invalid, a file is missing or invalid, one folder is in the other, or the result's
            holds other files or was prepared from another source or with other settings.
    """
    _check_options(name, spacing_mm, size)
    source, out = Path(str(raw)), Path(str(output_dir))
    if not os.path.isdir(source):
        raise InputError(f"raw: there is no folder {source}.")
    _check_apart(source, out)
    download: Download = importlib.import_module(f".{DATASETS[name]}", __package__).find(source)
    plan = _plan(download, out, template, spacing_mm or download.spacing_mm, size or download.size)
    folder = PreparedFolder(out, _settings(name, download, plan))
    files = [folder.file(subject.name, key) for subject in download.subjects for key in subject.files]
    sources = [path for subject in download.subjects for path in subject.sources]
    check_results([*files, out / RECORD, out / DESCRIPTION], sources)

    how = "are aligned and share a grid" if plan.template is None else f"are aligned to {plan.template_in_words}"
    logger.info("%s, %s: %d subjects, which %s.", name, download.form, len(download.subjects), how)
    logger.info("grid: %s", plan.grid)
    labelled = [subject for subject in download.subjects if "label" in subject.files]
    if labelled and len(labelled) < len(download.subjects):
        others = ", ".join(subject.name for subject in download.subjects if subject not in labelled)
        logger.warning("No label map was found of %s.", others)
    kept = 0
    with folder.writing({"split": download.split} | dict(download.description)):
        known: dict[str, dict[str, str]] = {}
        if plan.is_first_round:
            known = {subject.name: subject.hashes(source) for subject in _training_subjects(download)}
            plan = _second_round(plan, download, known, folder)
        for number, subject in enumerate(download.subjects, start=1):
            hashes = known.get(subject.name) or subject.hashes(source)
            if folder.holds(subject.name, hashes, subject.files):
                kept += 1
                continue
            volumes, facts = _prepared(subject, download, plan)
            folder.add(subject.name, volumes, {"sources": hashes, **facts})
            logger.info("%d of %d: %s%s", number, len(download.subjects), subject.name, _in_words(facts, plan.grid))
    parts = ", ".join(f"{len(download.split[part])} {part}" for part in PARTS)
    logger.info("%s: %d subjects (%s), %d of them kept from before.", out, len(download.subjects), parts, kept)
    if doubtful := [name for name, facts in folder.record["subjects"].items() if _is_doubtful(facts, plan.grid)]:
        logger.warning(
            "Look at %s: the alignment turns by more than %.0f degrees or scales by more than %.1f, or labels lie "
            "outside the grid.",
            ", ".join(doubtful), _LARGEST_TURN_DEGREES, LARGEST_SCALE,
        )  # fmt: skip


def _check_options(name: str, spacing_mm: float | None, size: Sequence[int] | None) -> None:
    """Raise an InputError if an option is invalid."""
    if name not in DATASETS:
        raise InputError(f"name is {name!r}; it must be one of {', '.join(DATASETS)}.")
    if spacing_mm is not None:
        check_spacing(spacing_mm)
    if size is not None and not (isinstance(size, (list, tuple)) and len(size) == 3):
        raise InputError(f"size is {size!r}; it must be three whole numbers.")
    for number in size or ():
        check_counts(least=2, size=number)


def _check_apart(source: Path, out: Path) -> None:
    """Raise an InputError if one folder is in the other, where the next call could take results for subjects."""
    read, written = real_path(source), real_path(out)
    if read.is_relative_to(written) or written.is_relative_to(read):
        raise InputError(f"{out}: must be outside the download {source}, and not hold it; choose another folder.")


def _plan(
    download: Download, out: Path, template: str | Path, spacing_mm: float | None, size: Sequence[int] | None
) -> _Plan:
    """Choose the template and the grid."""
    if template:
        image, initial, path = read_image(template), "affine", str(template)
        name = f"{Path(template).name} (SHA-256 {image.sha256})"
    else:
        name, initial = download.template or download.split["train"][0], download.initial
        subject = next(subject for subject in download.subjects if subject.name == name)
        image, path = download.read(subject)["image"], str(subject.files["image"])
    if initial == "none":
        grid = shared_grid(image.grid, spacing_mm, size)
        return _Plan(grid, image.grid, None, name, min(grid.spacing))
    spacing_mm = spacing_mm or DEFAULT_SPACING_MM
    # A chosen template may have other intensities than the subjects, such as those of a mean.
    looks = "auto" if template else download.modality
    own = Template.of(image, path, initial, spacing_mm, AlignmentCache(out / "alignments"), looks)
    aligned_to = replace(own, modality=download.modality)
    grid = grid_around_body(image.grid, aligned_to, size)
    return _Plan(grid, image.grid, aligned_to, name, spacing_mm, is_first_round=name in download.split["train"])


def _training_subjects(download: Download) -> list[Subject]:
    """Return the subjects to train on."""
    return [subject for subject in download.subjects if subject.name in download.split["train"]]


def _second_round(
    plan: _Plan, download: Download, sources: Mapping[str, Mapping[str, str]], folder: PreparedFolder
) -> _Plan:
    """Return the plan with the mean of the training subjects, whose source files have these hashes, as template."""
    first: Any = plan.template
    if not folder.holds_template(sources):
        training = _training_subjects(download)
        images = ((download.read(subject)["image"], str(subject.files["image"])) for subject in training)
        folder.add_template(first.mean(images, plan.grid), sources)
    mean = replace(first, image=read_image(folder.path / TEMPLATE), name=TEMPLATE)
    return replace(plan, template=mean, template_name=TEMPLATE)


def _settings(name: str, download: Download, plan: _Plan) -> dict[str, Any]:
    """Return all that prepared files depend on besides their sources."""
    return {
        "version": __version__,
        "name": name,
        "form": download.form,
        "split": download.split,
        "template": plan.template_in_words,
        "alignment": "none" if plan.template is None else plan.template.initial,
        "spacing": plan.grid.spacing,
        "size": plan.grid.shape,
        "affine": plan.grid.affine.tolist(),
    }


def _prepared(subject: Subject, download: Download, plan: _Plan) -> tuple[dict[str, Volume], dict[str, Any]]:
    """Bring a subject to the common grid; return its volumes, and facts for the record."""
    volumes = download.read(subject)
    image = volumes["image"]
    matrix = plan.alignment(image, subject)
    keys = [key for key in volumes if key != "image"]
    placed = resample(Transform(matrix), plan.grid, [averaged(image, plan.spacing_mm)], [volumes[key] for key in keys])
    result = dict(zip(keys, placed.labels, strict=True))
    # Whole numbers stay whole, and small on disk.
    dtype, values = result_dtype(image.values), placed.images[0].values
    result["image"] = Volume(np.rint(values).astype(dtype) if dtype.kind in "iu" else values, plan.grid)
    facts: dict[str, Any] = {"alignment": matrix.tolist()}
    if "label" in result:
        facts |= _label_facts(volumes["label"], result["label"], matrix)
    return result, facts


def _label_facts(before: Volume, after: Volume, matrix: np.ndarray) -> dict[str, Any]:
    """Return which labels have no voxel left, and which share of the labelled voxels lies within the common grid."""
    few = thinned(before, _MOST_VOXELS_LOOKED_AT)
    facts: dict[str, Any] = {"labels_lost": [int(label) for label in np.setdiff1d(before.values, after.values)]}
    if few.values.any():
        places = few.grid.to_world(np.argwhere(few.values > 0))
        inside = after.grid.contains(Transform(np.linalg.inv(matrix)).map_points(places))
        facts["labels_inside"] = round(float(inside.mean()), 3)
    return facts


def _is_doubtful(facts: Mapping[str, Any], grid: Grid) -> bool:
    """Return whether a subject should be looked at, from the facts of the record."""
    moved = motion(np.array(facts["alignment"]), grid)
    turns = moved["turn_degrees"] > _LARGEST_TURN_DEGREES
    return turns or scales_too_much(moved["scale"]) or facts.get("labels_inside", 1) < _LEAST_INSIDE


def _in_words(facts: Mapping[str, Any], grid: Grid) -> str:
    """Describe what was done with a subject, for the log."""
    matrix = np.array(facts["alignment"])
    words = ""
    if not np.array_equal(matrix, np.eye(4)):
        words = ", shift {:.1f} mm, rotation {:.1f} degrees, scale {:.3f}".format(*motion(matrix, grid).values())
    if facts.get("labels_inside", 1) < _WORTH_MENTIONING:
        words += f"; {1 - facts['labels_inside']:.1%} of its labelled voxels lie outside the grid"
    if facts.get("labels_lost"):
        words += f"; labels without a voxel left: {', '.join(map(str, facts['labels_lost']))}"
    return words
