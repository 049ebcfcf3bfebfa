"""What `sacb train` prints."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from sacb_bundle.commands import main
from sacb_bundle.engine.workflow import run_workflow
from sacb_bundle.errors import InputError


@pytest.fixture
def arguments(study: Path, tmp_path: Path) -> list[str]:
    """Arguments of a short training on pairs."""
    rows = ["fixed,moving,fixed_labels,moving_labels"]
    for number in range(2):
        rows.append(",".join(f"{study / kind / role}_{number}.nii.gz" for kind in ("images", "labels")
                             for role in ("fixed", "moving")))  # fmt: skip
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    (tmp_path / "small.json").write_text(json.dumps({"network_def#base_channels": 2}))
    chosen = {"pairs": tmp_path / "pairs.csv", "config": tmp_path / "small.json", "output": tmp_path / "run"}
    return ["train", "--device=cpu", "--initial=rigid", *(f"--{name}={value}" for name, value in chosen.items())]


def test_it_says_where_the_best_weights_are_and_when_it_is_finished(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert main([*arguments, "--max-epochs", "1"]) == 0
    best = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["best"]
    expected = (
        f"The best weights, of epoch 1 (val_mean_dice {best['value']:.4f}), are in {tmp_path / 'run' / 'model.pt'}."
    )
    assert capsys.readouterr().out.splitlines()[-1] == expected
    assert "alignment:" not in caplog.text

    assert main([*arguments, "--resume"]) == 0
    assert "The training of 1 epochs is finished; more --max-epochs extend it." in caplog.messages
    assert not any(message.startswith("Continuing") for message in caplog.messages)
    assert capsys.readouterr().out.splitlines()[-1] == expected

    assert main(arguments) == 1
    assert "continue it with --resume, or choose another --output." in capsys.readouterr().err
    assert main([*arguments, "--resume", "--max-epochs", "0"]) == 1
    assert "error: --max-epochs is 0; it must be a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"los#similarity": {}}', "sets a part of los, a key that train.json lacks."),
        ('{"train#handlers#99#path": ""}', "does not fit train.json: list index out of range"),
        ('{"+imports": ""}', "does not fit train.json: config must be dict or list for key `+imports`"),
        ("max_epochs: 1", "does not fit train.json: Expecting value"),
    ],
)
def test_an_overlay_that_does_not_fit(
    text: str, message: str, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.json").write_text(text)
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'small.json'}: {message}")
    assert not (tmp_path / "run").exists()


def test_an_overlay_for_another_config(tmp_path: Path) -> None:
    (tmp_path / "information.json").write_text('{"loss#similarity": {}}')
    with pytest.raises(InputError, match=r"sets a part of loss, a key that evaluate\.json lacks"):
        run_workflow("evaluate", "infer", (str(tmp_path / "information.json"),))
