"""Refine the pairs of a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacb_bundle.commands import main
from sacb_bundle.quality import flags_of
from sacb_bundle.study.report import write_report
from tests.study.runs import SMALL, batch, contents
from tests.study.test_report import MEASURES, output

__all__ = ["output"]


def test_a_batch_refines_as_register_does_and_resume_minds_the_settings(
    study: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {role: study / "images" / f"{role}_0.nii.gz" for role in ("fixed", "moving")}
    table = tmp_path / "pairs.csv"
    table.write_text(f"fixed,moving,id\n{names['fixed']},{names['moving']},one\n", encoding="utf-8")
    options = ["--refine", "1", "--similarity", "lncc", "--smoothness", "0.5"]
    assert batch(tmp_path / "out", model, "--pairs", table, *options) == 0
    measures = json.loads((tmp_path / "out" / "one" / "case.json").read_text())["measures"]
    assert (measures["refine_steps"], measures["refine_similarity"]) == (1, "lncc")
    assert len(measures["loss_curve"]) == 2
    files = [f"--{role}={path}" for role, path in names.items()]
    arguments = [*files, "--output", tmp_path / "single", "--model", model, *options, *SMALL]
    assert main(["register", *map(str, arguments)]) == 0
    record = json.loads((tmp_path / "single" / "case.json").read_text())
    assert record["options"]["refinement"] == {"steps": 1, "similarity": "lncc", "smoothness": 0.5}
    assert {key: value for key, value in record["measures"].items() if "loss" in key} == {
        key: value for key, value in measures.items() if "loss" in key
    }
    assert list(contents(tmp_path / "single").values()) == list(contents(tmp_path / "out").values())
    capsys.readouterr()
    assert batch(tmp_path / "out", model, "--pairs", table, *options, "--resume", "--dry-run") == 0
    assert "1 of 1 cases are complete" in capsys.readouterr().out
    assert batch(tmp_path / "out", model, "--pairs", table, "--refine", 0, "--resume", "--dry-run") == 0
    assert "to do: one (settings changed)" in capsys.readouterr().out


def test_the_report_shows_the_curve_of_the_loss(output: Path) -> None:
    write_report(output)
    page = (output / "report.html").read_text(encoding="utf-8")
    # Four losses over the width of 150; the last one is not finite.
    assert page.count('<polyline points="0.0,0.0 50.0,18.0 100.0,36.0"/>') == 4
    assert "loss (lncc, 3 steps)" in page
    assert "-0.300 → -0.500" in page


def test_a_refinement_that_is_not_used_is_flagged() -> None:
    assert not [flag for flag in flags_of(MEASURES) if "refine" in flag]
    unused = MEASURES | {"refined": False, "refine_reason": "it folds at 1 % of the voxels instead of 0 %"}
    assert "refinement not used: it folds at 1 % of the voxels instead of 0 %" in flags_of(unused)
