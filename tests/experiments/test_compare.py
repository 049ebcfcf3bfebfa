from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from sacb_bundle.commands import main
from sacb_bundle.data import list_pairs
from sacb_bundle.data.dataset_folder import DatasetFolder, read_dataset
from sacb_bundle.errors import InputError
from sacb_bundle.experiments import METHODS, Comparison, Method
from sacb_bundle.experiments.compare import COLUMNS
from sacb_bundle.experiments.folder import claim_folder
from sacb_bundle.experiments.methods import methods_of
from sacb_bundle.experiments.page import write_comparison_page
from sacb_bundle.files import file_hash
from sacb_bundle.metrics import dice
from sacb_bundle.networks import WeightsInfo, describe, write_weights
from tests.conftest import write
from tests.engine.workflows import ROOT
from tests.experiments.conftest import TinyNet, read_table, runs

MEMBERS = ["none", "affine", "tiny"]


@pytest.fixture(scope="module")
def compared(study: Path, config: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison. Do not write into it."""
    folder = tmp_path_factory.mktemp("compared") / "out"
    Comparison(runs(study, folder, config), MEMBERS, {}).run()
    return folder


@pytest.fixture
def copied(compared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compared, tmp_path / "out"))


def test_the_rows_hold_the_scores(study: Path, compared: Path) -> None:
    rows = {row["method"]: row for row in read_table(compared / "comparison.csv")}
    assert list(rows) == MEMBERS
    first, second = (np.asarray(nib.load(study / "labels" / f"moving_{n}.nii.gz").dataobj) for n in (1, 2))
    assert float(rows["none"]["dice"]) == pytest.approx(np.mean(list(dice(first, second, range(1, 8)).values())))
    assert float(rows["affine"]["dice"]) > float(rows["none"]["dice"]) + 0.1
    for name in MEMBERS:
        pairs = read_table(compared / name / "pairs.csv")
        assert [row["pair"] for row in pairs] == ["moving_1_to_moving_2", "moving_2_to_moving_1"]
        for column, score in (("dice", "dice_after"), ("hd95_mm", "hd95_after"), ("similarity", "similarity_after")):
            values = [float(row[score]) for row in pairs]
            assert float(rows[name][column]) == pytest.approx(np.mean(values))
            assert float(rows[name][f"{column}_std"]) == pytest.approx(np.std(values, ddof=1))
        median = np.median([float(row["seconds"]) for row in pairs])
        assert rows[name]["seconds"] == "" if name in ("none", "affine") else float(rows[name]["seconds"]) == median
    for name in ("none", "affine"):
        assert (float(rows[name]["folding_percent"]), float(rows[name]["sd_log_jacobian"])) == (0, 0)
        assert rows[name]["parameters_millions"] == ""
    number = sum(parameter.numel() for parameter in TinyNet().parameters())
    assert float(rows["tiny"]["parameters_millions"]) == pytest.approx(number / 1e6)


def test_the_table_in_markdown_has_no_empty_columns(compared: Path) -> None:
    head, _, *rows = (compared / "comparison.md").read_text().splitlines()
    assert head.startswith(
        "| method | spacing (mm) | Dice | HD95 (mm) | ASSD (mm) | similarity | folding (%) | SD log J | parameters (M)"
    )
    assert "memory" not in head  # on the CPU
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in MEMBERS]


def test_the_page_holds_the_pictures_and_the_plot(compared: Path) -> None:
    page = (compared / "comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 1 + 2 + 2 * len(MEMBERS)
    assert "http" not in page.replace("http-equiv", "")
    folders = {name: compared / name / "pictures" / "moving_1_to_moving_2" for name in MEMBERS}
    pictures = {kind: (folders["affine"] / f"{kind}.png").read_bytes() for kind in ("fixed", "moving", "warped")}
    assert pictures["warped"] == pictures["moving"] != pictures["fixed"]  # the field is zero
    assert pictures["fixed"] == (folders["tiny"] / "fixed.png").read_bytes()


def test_complete_methods_are_kept(study: Path, config: str, copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = {name: (copied / name / "metrics.csv").stat().st_mtime_ns for name in MEMBERS}
    shutil.rmtree(copied / "affine")
    Comparison(runs(study, copied, config), MEMBERS, {}).run()
    after = {name: (copied / name / "metrics.csv").stat().st_mtime_ns for name in MEMBERS}
    assert [name for name in MEMBERS if after[name] != before[name]] == ["affine"]
    assert "none: kept from before" in caplog.text
    assert "affine: Dice 0." in caplog.text
    assert "training into" not in caplog.text


def test_an_interrupted_training_continues(
    study: Path, config: str, copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    weights = file_hash(copied / "tiny" / "model.pt")
    for name in ("model.pt", "model.json", "scored.json"):
        (copied / "tiny" / name).unlink()
    Comparison(runs(study, copied, config), ["tiny"], {}).run()
    assert "The training of 1 epochs is finished" in caplog.text
    assert file_hash(copied / "tiny" / "model.pt") == weights


def test_given_weights_are_not_trained(study: Path, config: str, compared: Path, tmp_path: Path) -> None:
    weights = compared / "tiny" / "model.pt"
    Comparison(runs(study, tmp_path / "out", config), ["tiny"], {"tiny": weights}).run()
    assert not (tmp_path / "out" / "tiny" / "training").exists()
    record = json.loads((tmp_path / "out" / "tiny" / "scored.json").read_text())
    assert record["settings"]["weights"] == file_hash(weights)
    assert (
        read_table(tmp_path / "out" / "comparison.csv")[0]["dice"] == read_table(compared / "comparison.csv")[2]["dice"]
    )


def test_a_field_that_harms_is_scored_as_it_is(study: Path, config: str, tmp_path: Path) -> None:
    network = TinyNet(shift=6.0)
    weights = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    write_weights(weights, WeightsInfo(describe(network), modality="auto"), tmp_path / "shift.pt")
    Comparison(runs(study, tmp_path / "out", config), ["none", "tiny"], {"tiny": tmp_path / "shift.pt"}).run()
    none, shifted = read_table(tmp_path / "out" / "comparison.csv")
    assert float(shifted["dice"]) < float(none["dice"]) - 0.1


def test_results_of_other_settings_are_not_mixed(study: Path, config: str, compared: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"out: holds results of other settings \(max_epochs None → 3\), which are never"
    ):
        Comparison(runs(study, compared, config, max_epochs=3), ["none"], {}).run()
    other = Path(shutil.copytree(study, tmp_path / "other"))
    image = nib.load(other / "images" / "moving_2.nii.gz")
    write(other / "images" / "moving_2.nii.gz", np.asarray(image.dataobj)[::-1].copy())
    with pytest.raises(InputError, match=r"other settings \(test_pairs 2, \w+ → 2, \w+; validation_data 2, "):
        Comparison(runs(other, compared, config), ["none"], {}).run()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(
        InputError, match=r"full: holds other files, such as thesis.txt, but no settings.json; choose an empty folder"
    ):
        Comparison(runs(study, tmp_path / "full", config), ["none"], {}).run()


@pytest.mark.parametrize("names", [["best"], ["none+refine"], ["tiny+refine+refine"]])
def test_an_unknown_method_lists_the_known_ones(names: list[str]) -> None:
    with pytest.raises(
        InputError, match=rf"no method '{names[0]}'".replace("+", r"\+") + ".*none, affine, syn, voxelmorph-1"
    ):
        methods_of(names)


def test_methods_name_their_networks() -> None:
    found = methods_of(["sacb-net", "sacb-net+refine", "voxelmorph-2", "syn"])
    assert [method.refine for method in found.values()] == [0, 50, 0, 0]
    assert found["voxelmorph-2"].trained == {"name": "VoxelMorph", "variant": 2}
    assert found["sacb-net"].trained == {}
    assert found["syn"].trained is None


def test_a_method_without_its_package_is_left_out(
    study: Path, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(METHODS, "syn", replace(METHODS["syn"], module="no_such_module"))
    line = "syn is left out: it needs antspyx; pip install antspyx"
    rows = Comparison(runs(study, tmp_path / "out", config), ["none", "syn"], {}).run()
    assert [row["method"] for row in rows] == ["none"]
    assert line in caplog.text
    assert line in (tmp_path / "out" / "comparison.html").read_text()
    with pytest.raises(InputError, match=f"No method is left to compare: {line}"):
        Comparison(runs(study, tmp_path / "out", config), ["syn"], {}).run()


def test_a_method_whose_package_is_damaged_is_left_out(
    study: Path, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "damaged_ants.py").write_text("raise OSError('libantscore.so: not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "syn", replace(METHODS["syn"], module="damaged_ants"))
    rows = Comparison(runs(study, tmp_path / "out", config), ["syn", "none"], {}).run()
    assert [row["method"] for row in rows] == ["none"]
    line = "syn is left out: antspyx is installed, but its import fails: libantscore.so: not found"
    assert line in caplog.text


def test_a_folder_without_results_takes_other_settings(study: Path, config: str, tmp_path: Path) -> None:
    claim_folder(tmp_path / "out", {"labels": [1]})
    assert Comparison(runs(study, tmp_path / "out", config), ["none"], {}).run()[0]["spacing_mm"] == 2
    with pytest.raises(InputError, match="holds results of other settings"):
        claim_folder(tmp_path / "out", {"labels": [1]})


def test_weights_belong_to_a_method(
    study: Path, config: str, compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = compared / "tiny" / "model.pt"
    for name in ("sacb-net", "none"):
        with pytest.raises(InputError, match=f"weights are given for '{name}', which is none of the trained networks"):
            Comparison(runs(study, tmp_path / "out", config), ["none", "tiny"], {name: weights}).run()
    monkeypatch.setitem(METHODS, "other", Method(trained={"name": "SACBNet"}))
    with pytest.raises(InputError, match=r"model.pt: holds weights of TinyNet, but other needs those of SACBNet."):
        Comparison(runs(study, tmp_path / "out", config), ["other"], {"other": weights}).run()
    with pytest.raises(InputError, match=r"missing.pt: no such checkpoint file"):
        Comparison(runs(study, tmp_path / "out", config), ["tiny"], {"tiny": tmp_path / "missing.pt"}).run()
    assert not (tmp_path / "out").exists()


def test_an_unknown_network_is_refused(
    study: Path, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "other", Method(trained={"name": "OtherNet"}))
    with pytest.raises(InputError, match=r"other: there is no network OtherNet; the known networks are SACBNet"):
        Comparison(runs(study, tmp_path / "out", config), ["other+refine"], {}).run()
    assert not (tmp_path / "out").exists()


def test_names_are_escaped_on_the_page(copied: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "<script>alert(1)<%2fscript>&'\""
    rows = [{"method": "none", "dice": 0.5}]
    write_comparison_page(copied, "moving_1_to_moving_2", hostile, COLUMNS, rows, ["<b>left out</b>"])
    page = (copied / "comparison.html").read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;%2fscript&gt;&amp;&#39;&#34;" in page


def test_data_without_labels_and_on_different_grids(study: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(2):
        image = np.asarray(nib.load(study / "images" / f"fixed_{number}.nii.gz").dataobj)
        write(
            root / "images" / f"{number}.nii.gz", image[: 32 - 2 * number], np.diag([2.0, 2.0, 2.0 + number / 9, 1.0])
        )
    rows = Comparison(runs(root, tmp_path / "out", pairing="consecutive"), ["none", "affine"], {}).run()
    assert [(row["pairs"], row["dice"], row["folding_percent"]) for row in rows] == [(2, None, 0), (2, None, 0)]
    assert rows[1]["similarity"] > rows[0]["similarity"] + 0.02
    assert (
        (tmp_path / "out" / "comparison.md")
        .read_text()
        .startswith("| method | spacing (mm) | similarity | folding (%) |")
    )
    assert not (tmp_path / "out" / "dice_per_label.png").exists()


def test_the_test_subjects_are_compared_if_there_are_any(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [pair["id"] for pair in list_pairs(str(study), pairing="consecutive", split="test")]
    assert ids == ["moving_1_to_moving_2", "moving_2_to_moving_1"]  # the validation subjects

    def with_test(*arguments: object) -> DatasetFolder:
        folder = read_dataset(study)
        object.__setattr__(folder, "test", folder.train[:2])
        return folder

    monkeypatch.setattr("sacb_bundle.data.pairs.read_dataset", with_test)
    ids = [pair["id"] for pair in list_pairs(str(study), pairing="consecutive", split="test")]
    assert ids == ["fixed_0_to_fixed_1", "fixed_1_to_fixed_0"]
    with pytest.raises(InputError, match=r"split is 'train'; it must be"):
        list_pairs(str(study), split="train")


def test_the_verb(study: Path, config: str, compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--dataset", str(study), "--output", str(tmp_path / "out"), "--config", config]
    arguments += ["--device", "cpu", "--pairing", "consecutive"]
    assert main([*arguments, "--methods", "best"]) == 1
    assert "There is no method 'best'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--methods", "tiny", "--weights", "model.pt"])
    assert "must be a method and its weights, such as sacb-net=model.pt" in capsys.readouterr().err
    weights = f"tiny={compared / 'tiny' / 'model.pt'}"
    assert main([*arguments, "--methods", "none", "tiny", "--weights", weights]) == 0
    assert [row["method"] for row in read_table(tmp_path / "out" / "comparison.csv")] == ["none", "tiny"]


@pytest.mark.slow
def test_the_config_runs_as_a_bundle(study: Path, config: str, tmp_path: Path) -> None:
    options = ["--dataset_dir", str(study), "--output_dir", "1000_3", "--methods", "['none','affine']", "--jobs", "0"]
    options += ["--config", config, "--device", "cpu", "--config_file", str(ROOT / "configs" / "compare.json")]
    command = [sys.executable, "-m", "monai.bundle", "run", "comparing", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert [row["method"] for row in read_table(tmp_path / "1000_3" / "comparison.csv")] == ["none", "affine"]
    assert (tmp_path / "1000_3" / "affine" / "metrics.csv").is_file()
