from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("benchmark")
    small = ("--device", "cpu", "--repeats", "1", "--shape", "32", "32")
    for name, arguments in {
        "whole": ("32",),
        "longer": ("48", "--measure", "inference", "training", "--clusters", "3"),
    }.items():
        result = run("benchmark.py", *small, *arguments, "--json", str(folder / f"{name}.json"))
        assert result.returncode == 0, result.stderr
    return [folder / "whole.json", folder / "longer.json"]


@pytest.mark.slow
def test_network_and_every_operation_are_measured(reports: list[Path]) -> None:
    report = json.loads(reports[0].read_text())
    assert report["shape"] == [32, 32, 32]
    assert report["network"]["training step"]["ms"] > report["network"]["inference"]["ms"] > 0
    names = {row["operation"].split(",")[0] for row in report["operations"]}
    assert names == {
        *(
            "conv_norm_leaky_relu",
            "conv3d",
            "adaptive_residual_conv3d",
            "spatial_descriptor",
            "kmeans",
            "match_similarity",
        ),
        *("warp", "compose", "upsample_field", "halve", "local_ncc", "squared_differences"),
    }
    for row in report["operations"]:
        without_gradient = row["operation"].startswith(("kmeans", "spatial_descriptor"))
        assert without_gradient == ("forward and backward" not in row)
        assert row["forward"]["times_floor"] > 0.5


@pytest.mark.slow
def test_scaling_is_plotted_and_tabulated(reports: list[Path], tmp_path: Path) -> None:
    result = run("plot_scaling.py", *map(str, reports), "--output", str(tmp_path / "scaling.png"))
    assert result.returncode == 0, result.stderr
    assert [line.split(" | ")[:2] for line in result.stdout.splitlines()[2:]] == [
        ["| 32x32x32", "7"],
        ["| 32x32x48", "3"],
    ]
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shape", "30", "32", "32"), "multiple of 16"),
        (("--device", "cpu", "--precision", "fp16"), "on a CPU the network computes in fp32"),
    ],
)
def test_what_the_network_does_not_do_is_refused(options: tuple[str, ...], message: str) -> None:
    result = run("benchmark.py", *options)
    assert result.returncode == 2
    assert message in result.stderr
