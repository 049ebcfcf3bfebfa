"""Compare labels of a brain atlas from the server with the evaluation workflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from sacb_bundle.data import label_values, read_dataset
from sacb_bundle.metrics import dice
from sacb_bundle.spatial import read_label_map, volume_name
from tests.engine.workflows import workflow
from tests.label.server import ROOT, running_server

TOLERANCE = 0.005


@pytest.mark.data
def test_the_dice_is_that_of_the_evaluation(real_data: Path, tmp_path: Path) -> None:
    dataset = read_dataset(real_data / "oasis_malf_2mm")
    atlas, scans = real_data / "oasis_malf_2mm" / "labels" / Path(dataset.train[0]["image"]).name, dataset.val
    folder = tmp_path / "brain"
    folder.mkdir()
    shutil.copy(dataset.train[0]["image"], folder / "image.nii.gz")
    shutil.copy(atlas, folder / "labels.nii.gz")
    labels = label_values([{"label": str(atlas)}])
    (folder / "labels.json").write_text(json.dumps({str(label): f"structure {label}" for label in labels}))

    studies = tmp_path / "studies"  # the server writes beside its scans
    studies.mkdir()
    for scan in scans:
        shutil.copy(scan["image"], studies)

    scores = []
    with running_server(tmp_path / "app", studies, [folder]) as server:
        for scan in scans:
            found = server.label_map(volume_name(scan["image"]), tmp_path / "found.nii.gz")
            maps = (read_label_map(path).values.astype(np.int32) for path in (scan["label"], found))
            scores.append(fmean(dice(*maps, labels).values()))

    pairs = [
        {"id": volume_name(scan["image"]), "fixed": scan["image"], "fixed_labels": scan["label"]}
        | {"moving": str(folder / "image.nii.gz"), "moving_labels": str(folder / "labels.nii.gz")}
        for scan in scans
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    options = {"bundle_root": str(ROOT), "data_list": str(tmp_path / "pairs.json"), "output_dir": str(tmp_path)}
    workflow("evaluate", **options, initial="affine").run()
    evaluated = json.loads((tmp_path / "metrics.json").read_text())["dice_after"]["mean"]
    assert evaluated > 0.55
    assert abs(fmean(scores) - evaluated) <= TOLERANCE
