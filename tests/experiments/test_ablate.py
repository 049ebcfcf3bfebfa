from __future__ import annotations

import json
import logging
from pathlib import Path
from statistics import mean, stdev

import pytest

from sacb_bundle.commands import main
from sacb_bundle.errors import InputError
from sacb_bundle.experiments import Ablation
from sacb_bundle.experiments.variants import TABLES, folder_name, parsed, variants_of
from sacb_bundle.networks import read_info
from tests.experiments.conftest import read_table, runs

WIDTHS = ("network_def#width", 2, 3)


@pytest.fixture(scope="module")
def ablated(study: Path, config: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ablation of two widths with two seeds. Do not write into it."""
    folder = tmp_path_factory.mktemp("ablated") / "out"
    Ablation(runs(study, folder, config), [], [WIDTHS], [0, 1]).run()
    return folder


def trainings(folder: Path) -> dict[str, int]:
    """When each training of an ablation was finished, by the path of its folder."""
    return {str(path.parent): path.stat().st_mtime_ns for path in folder.rglob("scored.json")}


def test_each_row_has_its_value_and_the_spread_over_the_seeds(ablated: Path) -> None:
    rows = read_table(ablated / "ablation.csv")
    assert [(row["rows"], row["key"], row["value"], row["seeds"]) for row in rows] == [
        ("network_def#width", "network_def#width", "2", "2"),
        ("network_def#width", "network_def#width", "3", "2"),
    ]
    for row, name, width in zip(rows, ("unchanged", folder_name({"width": 3})), (2, 3), strict=True):
        folders = [ablated / name / f"seed-{seed}" for seed in (0, 1)]
        assert [read_info(folder / "model.pt").network["width"] for folder in folders] == [width, width]
        assert len({(folder / "model.pt").read_bytes() for folder in folders}) == 2
        scores = [json.loads((folder / "metrics.json").read_text())["similarity_after"]["mean"] for folder in folders]
        assert float(row["similarity"]) == pytest.approx(mean(scores))
        assert float(row["similarity_std"]) == pytest.approx(stdev(scores))
        costs = [json.loads((folder / "training" / "cost.json").read_text()) for folder in folders]
        assert [cost["steps"] for cost in costs] == [1, 1]
        assert float(row["step_seconds"]) == pytest.approx(mean(cost["step_seconds"] for cost in costs))
        assert row["peak_megabytes"] == ""  # on the CPU
    parameters = [float(row["parameters_millions"]) * 1e6 for row in rows]
    assert parameters == pytest.approx([width * (2 * 27 + 1) + 3 * (width + 1) for width in (2, 3)])
    assert (ablated / "ablation.md").read_text().count("\n") == 4


def test_processes_share_the_trainings(
    study: Path, config: str, ablated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    Ablation(runs(study, tmp_path / "out", config), [], [WIDTHS], [0, 1]).run()
    first = trainings(tmp_path / "out")
    assert {Path(folder).name for folder in first} == {"seed-1"}
    assert [row["seeds"] for row in read_table(tmp_path / "out" / "ablation.csv")] == ["1", "1"]
    monkeypatch.setenv("RANK", "0")
    Ablation(runs(study, tmp_path / "out", config), [], [WIDTHS], [0, 1]).run()
    assert first.items() <= trainings(tmp_path / "out").items()  # the finished trainings are kept
    together, alone = (read_table(folder / "ablation.csv") for folder in (tmp_path / "out", ablated))
    for row, expected in zip(together, alone, strict=True):
        for column in ("dice", "dice_std", "similarity", "similarity_std", "folding_percent", "seeds"):
            assert row[column] == expected[column]


def test_other_keys_vary_alone(study: Path, config: str, tmp_path: Path) -> None:
    vary = [("loss#similarity#window", 5), ("initial", "center")]
    rows = Ablation(runs(study, tmp_path / "out", config), [], vary, [0]).run()
    assert [(row["key"], row["value"], row["dice_std"]) for row in rows] == [
        ("loss#similarity#window", "5", None),
        ("initial", "center", None),
    ]
    record = json.loads((tmp_path / "out" / folder_name({"initial": "center"}) / "seed-0" / "scored.json").read_text())
    assert record["settings"]["initial"] == "center"


def test_the_rows_of_the_paper() -> None:
    variants = variants_of(list(TABLES), [])
    assert [variant.value for variant in variants if variant.group == "table3"] == [
        [], [5], [5, 4], [5, 4, 3], [5, 4, 3, 2]
    ]  # fmt: skip
    assert [variant.value for variant in variants if variant.group == "table4"] == [
        5, 7, 9, 11, "spatial", "channel", "mix"
    ]  # fmt: skip


def test_rows_with_the_same_network_are_trained_once(study: Path, tmp_path: Path) -> None:
    ablation = Ablation(runs(study, tmp_path / "out"), list(TABLES), [], [0])
    names = dict(zip([variant.text for variant in ablation.variants], ablation.folders(), strict=True))
    assert {text for text, name in names.items() if name == "unchanged"} == {"[5, 4, 3, 2]", "7", "spatial"}
    assert len(set(names.values())) == len(names) - 2


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (("network_def#widht", 2), "train.json has no key widht. Did you mean width?"),
        (("smothness", 2), "train.json has no key smothness."),
        (("network_def#width", 2, 2), "network_def#width 2 is given twice."),
        (("output_dir", "elsewhere"), "output_dir cannot be varied, since an ablation sets it itself."),
        (("seed", 1), "seed cannot be varied"),
        (("modality", "$exit()"), "modality: '$exit()' may not begin with $, @ or %."),
        (("network_def", {"_target_": "os.mkdir", "path": "ran"}), "the key '_target_' may not begin and end with"),
        (("network_def#_target_", "os.mkdir"), "the key '_target_' may not begin and end with"),
        (("network_def", 5), "network_def makes 5; it must make a network with the attribute options"),
        (("smoothness_weight", 1, -1), "smoothness_weight is -1; it must be a finite, non-negative number."),
        (("modality", "ct", "cte"), "modality is 'cte'; it must be one of auto, mr, ct"),
        (("network_def#width",), "vary needs a key of train.json and its values"),
    ],
)
def test_wrong_keys_are_refused_before_work_starts(
    vary: tuple, message: str, study: Path, config: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        Ablation(runs(study, tmp_path / "out", config), [], [vary], [0]).run()
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_wrong_rows_and_seeds_are_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There are no rows 'table5'; choose of table3, table4."):
        variants_of(["table5"], [])
    with pytest.raises(InputError, match="There is nothing to vary"):
        variants_of([], [])
    with pytest.raises(InputError, match=r"seeds is \[0, 0\]; a seed is there twice."):
        Ablation(runs(study, tmp_path / "out"), ["table3"], [], [0, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 3}, "seeds is 3; it must be a list of whole numbers of at least 0, such as [0, 1]."),
        ({"seeds": []}, "seeds is []; it must be a list"),
        ({"seeds": [-1]}, "seeds is [-1]; it must be a list"),
        ({"rows": "table3"}, "rows is 'table3'; it must be a list of tables, such as ['table3']."),
        ({"vary": ["network_def#num_clusters", 5, 7]}, "such as [['network_def#num_clusters', 5, 7]]."),
        ({"vary": [[]]}, "such as [['network_def#num_clusters', 5, 7]]."),
    ],
)
def test_values_of_other_types_are_refused(options: dict, message: str, study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        Ablation(runs(study, tmp_path / "out"), **{"rows": ["table3"], "vary": [], "seeds": [0]} | options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("0.5", 0.5), ("[5, 4]", [5, 4]), ("spatial", "spatial"), ("true", True)]
)
def test_values_are_json_or_plain_text(text: str, value: object) -> None:
    assert parsed(text) == value


def test_the_verb(
    study: Path,
    config: str,
    ablated: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    arguments = ["ablate", "--dataset", str(study), "--config", config, "--device", "cpu"]
    assert main([*arguments, "--output", str(tmp_path / "out"), "--vary", "network_def#widht", "2"]) == 1
    assert "has no key widht" in capsys.readouterr().err
    before = trainings(ablated)
    arguments += ["--output", str(ablated), "--vary", "network_def#width", "2", "3", "--seeds", "0", "1"]
    assert main(arguments) == 0
    assert "network_def#width 3, seed 1: kept from before" in caplog.text
    assert trainings(ablated) == before
    assert main([*arguments, "--max-epochs", "2"]) == 1
    assert "holds results of other settings (--max-epochs None → 2)" in capsys.readouterr().err


def test_a_key_is_the_same_however_it_is_written() -> None:
    (variant,) = variants_of([], [("network_def::width", 2)])  # as MONAI's command line gives it
    assert variant.changes == {"network_def#width": 2}
