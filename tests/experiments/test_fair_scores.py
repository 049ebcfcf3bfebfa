"""Every network is scored under its own name, on data it was not trained on, and on the same data as the others."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from sacb_bundle.errors import InputError
from sacb_bundle.experiments import METHODS, Ablation, Comparison, Method
from sacb_bundle.networks import WeightsInfo, build_network, describe, write_weights
from sacb_bundle.transforms.score_registration import ScoreRegistrationd
from tests.conftest import write
from tests.experiments.conftest import TinyNet, read_table, runs


@pytest.fixture
def own(study: Path, tmp_path: Path) -> Path:
    """A copy of the data set, to change."""
    return Path(shutil.copytree(study, tmp_path / "own"))


def weights_of(path: Path, spacing_mm: float = 2.0, **description: Any) -> Path:
    """Write untrained weights of a network."""
    network: Any = build_network(description)
    write_weights(network.state_dict(), WeightsInfo(describe(network), spacing_mm, modality="auto"), path)
    return path


def describe_dataset(root: Path, **content: Any) -> None:
    (root / "dataset.json").write_text(json.dumps(content))


def turn(root: Path, name: str) -> None:
    """Turn an image around."""
    image = nib.load(root / "images" / f"{name}.nii.gz")
    write(root / "images" / f"{name}.nii.gz", np.asarray(image.dataobj)[::-1].copy())


@pytest.mark.parametrize(
    ("method", "description", "message"),
    [
        (
            "voxelmorph-1",
            {"name": "VoxelMorph", "variant": 2},
            "holds weights with variant 2, but voxelmorph-1 needs variant 1.",
        ),
        ("tiny", {"name": "TinyNet", "width": 3}, "holds weights with width 3, but tiny needs width 2."),
        (
            "sacb-net",
            {"name": "LapIRN", "channels": 4},
            "holds weights of LapIRN, but sacb-net needs those of TinyNet.",
        ),
    ],
)
def test_given_weights_must_be_of_the_network_of_the_method(
    method: str, description: dict[str, Any], message: str, study: Path, config: str, tmp_path: Path
) -> None:
    weights = weights_of(tmp_path / "given.pt", **description)
    with pytest.raises(InputError) as error:
        Comparison(runs(study, tmp_path / "out", config), [method], {method: weights}).run()
    assert str(error.value) == f"{weights}: {message}"
    assert not (tmp_path / "out").exists()


def test_given_weights_may_differ_in_other_options(study: Path, config: str, tmp_path: Path) -> None:
    tiny = weights_of(tmp_path / "tiny.pt", name="TinyNet", width=2, shift=1.0)
    wide = weights_of(tmp_path / "wide.pt", name="TinyNet", width=4)  # the config has width 2
    rows = Comparison(
        runs(study, tmp_path / "out", config), ["tiny", "sacb-net"], {"tiny": tiny, "sacb-net": wide}
    ).run()
    numbers = [sum(parameter.numel() for parameter in TinyNet(width).parameters()) for width in (2, 4)]
    assert [row["parameters_millions"] * 1e6 for row in rows] == pytest.approx(numbers)


def test_weights_of_an_earlier_definition_of_a_method_are_refused(
    study: Path, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "wide", Method(trained={"name": "TinyNet"}))
    Comparison(runs(study, tmp_path / "out", config), ["wide"], {}).run()
    monkeypatch.setitem(METHODS, "wide", Method(trained={"name": "TinyNet", "width": 8}))
    with pytest.raises(
        InputError, match=r"model.pt: holds weights with width 2, but wide needs width 8; choose another output\."
    ):
        Comparison(runs(study, tmp_path / "out", config), ["wide"], {}).run()


def test_scores_of_other_labels_are_not_mixed(own: Path, config: str, tmp_path: Path) -> None:
    describe_dataset(own, eval_labels=[1, 2])
    Comparison(runs(own, tmp_path / "out", config), ["none"], {}).run()
    assert {row["label"] for row in read_table(tmp_path / "out" / "none" / "metrics.csv")} == {"1", "2"}
    describe_dataset(own, eval_labels=[3])
    with pytest.raises(InputError, match=r"holds results of other settings \(labels\)"):
        Comparison(runs(own, tmp_path / "out", config), ["none"], {}).run()


def test_networks_trained_or_chosen_on_other_images_are_not_mixed(own: Path, config: str, tmp_path: Path) -> None:
    names = {"train": ["fixed_0", "fixed_1"], "val": ["fixed_2", "moving_0"], "test": ["moving_1", "moving_2"]}
    describe_dataset(own, split=names)
    Comparison(runs(own, tmp_path / "out", config), ["none"], {}).run()
    turn(own, "fixed_1")
    turn(own, "moving_0")
    with pytest.raises(
        InputError, match=r"other settings \(training_data 2, \w+ → 2, \w+; validation_data 2, \w+ → 2, \w+\)"
    ):
        Comparison(runs(own, tmp_path / "out", config), ["none"], {}).run()


def test_scores_without_their_settings_are_refused(study: Path, config: str, tmp_path: Path) -> None:
    Comparison(runs(study, tmp_path / "out", config), ["none"], {}).run()
    for path in (tmp_path / "out").glob("*.*"):
        path.unlink()
    shutil.rmtree(tmp_path / "out" / "alignments", ignore_errors=True)
    with pytest.raises(InputError, match=r"out: holds other files, such as none, but no settings.json"):
        Comparison(runs(study, tmp_path / "out", config), ["none"], {}).run()


def test_weights_are_scored_at_their_own_spacing(
    study: Path, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    forward = TinyNet.forward
    monkeypatch.setattr(
        TinyNet, "forward", lambda network, image: shapes.append(image.shape[2:]) or forward(network, image)
    )
    weights = weights_of(tmp_path / "coarse.pt", 4.0, name="TinyNet", width=2)
    rows = Comparison(runs(study, tmp_path / "out", config), ["none", "tiny"], {"tiny": weights}).run()
    assert {tuple(shape) for shape in shapes} == {(16, 16, 16)}  # 32 voxels of 2 mm
    assert [row["pairs"] for row in rows] == [2, 2]


def test_no_network_is_scored_on_its_own_training_data(
    own: Path, config: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("fixed_0", "moving_0", "moving_2"):
        for folder in ("images", "labels"):
            (own / folder / f"{name}.nii.gz").unlink()
    message = r"own: fixed_1.nii.gz is both to train on and to score.*; name other subjects as .test. under .split."
    with pytest.raises(InputError, match=message):
        Comparison(runs(own, tmp_path / "out", config), ["none", "tiny"], {}).run()
    with pytest.raises(InputError, match=message):
        Ablation(runs(own, tmp_path / "out", config), [], [("network_def#width", 2)], [0]).run()
    assert not (tmp_path / "out").exists()
    weights = weights_of(tmp_path / "elsewhere.pt", name="TinyNet", width=2)
    Comparison(runs(own, tmp_path / "out", config), ["none", "tiny"], {"tiny": weights}).run()
    assert "validation subjects" not in caplog.text


def test_an_atlas_may_be_in_training_and_test_pairs(
    own: Path, config: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"train": ["fixed_0", "fixed_1"], "val": ["moving_0", "fixed_2"], "test": ["moving_1", "moving_2"]}
    describe_dataset(own, split=names)
    atlas = tmp_path / "atlas.json"
    atlas.write_text(json.dumps(json.loads(Path(config).read_text()) | {"atlas": "fixed_0"}))
    of_atlas = runs(own, tmp_path / "out", str(atlas))
    of_atlas.check_held_out()
    assert [pair["id"] for pair in of_atlas.pairs] == ["fixed_0_to_moving_1", "fixed_0_to_moving_2"]
    assert "validation subjects" not in caplog.text


def test_scores_of_validation_subjects_give_a_warning(
    study: Path, config: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs(study, tmp_path / "out", config).check_held_out()
    assert caplog.text.count("The pairs are of validation subjects, which also choose the best weights") == 1


def test_pairs_that_no_method_scores_are_told(study: Path, config: str, tmp_path: Path) -> None:
    data = Path(shutil.copytree(study, tmp_path / "data"))
    names = [path.name.removesuffix(".nii.gz") for path in sorted((data / "images").iterdir())]
    split = {"train": names[:2], "val": names[1:3], "test": names[3:]}
    (data / "dataset.json").write_text(json.dumps({"split": split}))
    (data / "labels" / f"{names[3]}.nii.gz").unlink()
    rows = Comparison(runs(data, tmp_path / "out", config), ["none", "affine"], {}).run()
    assert [row["pairs"] for row in rows] == [2, 2]
    first = f"{names[3]}_to_{names[4]}"
    assert f"4 pairs are left out, such as {first}" in (tmp_path / "out" / "comparison.html").read_text()


def test_pairs_that_are_left_out_are_told_and_tried_again(
    study: Path, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    score = ScoreRegistrationd.__call__

    def fail_once(transform: ScoreRegistrationd, data: dict[str, Any]) -> dict[str, Any]:
        monkeypatch.undo()
        raise InputError("could not be read in 600 s")

    monkeypatch.setattr(ScoreRegistrationd, "__call__", fail_once)
    rows = Comparison(runs(study, tmp_path / "out", config), ["none", "affine"], {}).run()
    assert [row["pairs"] for row in rows] == [1, 2]
    note = "The means are not over the same pairs, since some were left out: none has 1, affine has 2."
    assert note in caplog.text
    assert f'<p class="banner">{note}' in (tmp_path / "out" / "comparison.html").read_text()
    assert ScoreRegistrationd.__call__ is score
    caplog.clear()
    rows = Comparison(runs(study, tmp_path / "out", config), ["none", "affine"], {}).run()
    assert [row["pairs"] for row in rows] == [2, 2]
    assert "affine: kept from before" in caplog.text
    assert "none: kept from before" not in caplog.text
    assert "banner" not in (tmp_path / "out" / "comparison.html").read_text().partition("<h1>")[2]


@pytest.mark.parametrize("weights", ["lap.pt", ["lap.pt"], {"tiny": 3}])
def test_weights_of_other_types_are_refused(weights: Any, study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights is .*; it must give the path .* such as {'sacb-net': 'model.pt'}."):
        Comparison(runs(study, tmp_path / "out"), ["tiny"], weights)
