"""Abdominal CT of the BTCV challenge, with 13 organs; all ordered pairs."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .download import Download, alignment_needed, labelled_subjects, learn2reg_subjects, published_split
from .folder import listed_subjects

COUNTS = (19, 3, 8)
SIZE, SPACING_MM = (192, 160, 224), 2.0
LABELS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland",
)  # fmt: skip


def find(raw: Path) -> Download:
    """Find the abdomens of Learn2Reg (imagesTr/), of Synapse (RawData/Training/img/), or in images/ and labels/.

    Args:
        raw: folder of the download.

    Returns:
        What was found.

    Raises:
        InputError: if it holds none of these, a file is missing, or there are too few subjects.
    """
    split = None
    training = next(
        (path for path in (raw / "RawData" / "Training", raw / "Training", raw) if (path / "img").is_dir()), raw
    )
    if (raw / "imagesTr").is_dir():
        form = "Learn2Reg"
        subjects = learn2reg_subjects(raw)
    elif (training / "img").is_dir():
        form = "Synapse"
        subjects = labelled_subjects(
            training / "img", training / "label", label_of=lambda name: name.replace("img", "label")
        )
    elif (raw / "images").is_dir():
        form = "images and labels"
        subjects, split = listed_subjects(raw)
    else:
        raise InputError(
            f"{raw}: has neither imagesTr/ (Learn2Reg), RawData/Training/img/ (Synapse), nor images/ and labels/."
        )
    for subject in subjects:
        if "label" not in subject.files:
            raise InputError(f"{raw / 'labels'}: has no label map {subject.name} for {subject.files['image']}.")
    names = [subject.name for subject in subjects]
    numbers = range(1, len(LABELS) + 1)
    return Download(
        form,
        subjects,
        split or published_split(names, COUNTS, "Abdomen CT"),
        initial=alignment_needed(subject.files["image"] for subject in subjects),
        spacing_mm=SPACING_MM,
        size=SIZE,
        modality="ct",
        description={
            "labels": {str(number): name for number, name in zip(numbers, LABELS, strict=True)},
            "eval_labels": list(numbers),
        },
    )
