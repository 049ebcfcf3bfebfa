"""Preparations that are stopped, continued, repeated and refused."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sacb_bundle
from sacb_bundle.commands import main
from sacb_bundle.data import read_dataset
from sacb_bundle.datasets import DATASETS
from sacb_bundle.datasets.prepared_folder import PreparedFolder
from sacb_bundle.errors import InputError
from sacb_bundle.results.result_folder import lock
from sacb_bundle.spatial import volume_files
from tests.datasets import downloads
from tests.datasets.downloads import run, stored
from tests.engine.test_command_line import assert_one_error, bundle
from tests.engine.workflows import workflow


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six scans with labels on one grid."""
    return downloads.images(tmp_path / "raw")


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@contextmanager
def stopped_at(number: int) -> Iterator[None]:
    """Interrupt the writing of a file, numbered from 0, in the block of a `with` statement."""
    write, written = volume_files.write_nifti, []

    def interrupted(image: Any, path: Path) -> None:
        if len(written) == number:
            raise KeyboardInterrupt
        written.append(path)
        write(image, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sacb_bundle.spatial.volume_files.write_nifti", interrupted)
        yield


def test_training_takes_a_prepared_folder(raw: Path, tmp_path: Path) -> None:
    out = run("abdomen-ct", raw, tmp_path / "out", size=(16, 32, 32))
    made = workflow("train", "abdomen_ct", dataset_dir=str(out), initialize=[], **{"crop#roi_size": [16, 32, 32]})
    pair = made.train_dataset[0]["image"]
    assert pair.shape == (2, 16, 32, 32)
    # The fixed image is the second of the two for training.
    expected = np.interp(downloads.abdomen(1)[0][8:24], (-1000, -160, 300, 1000), (0, 0.15, 0.85, 1))
    np.testing.assert_allclose(pair[1], expected, atol=1e-6)
    assert len(made.train_dataset) == 2


@pytest.mark.parametrize("written", [0, 3, 4])
def test_a_stopped_preparation_continues(written: int, raw: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    whole = contents(run("folder", raw, tmp_path / "whole"))
    out = tmp_path / "out"
    with stopped_at(written), pytest.raises(KeyboardInterrupt):
        run("folder", raw, out)
    # Training does not take what is there for the whole, in which a test subject would be one to train on.
    with pytest.raises(InputError, match="images"):
        read_dataset(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("s0.nii.gz")}
    caplog.clear()
    run("folder", raw, out)
    assert contents(out) == whole
    if written >= 2:
        assert {path: path.stat().st_mtime_ns for path in times} == times
    assert f"{out}: 6 subjects (2 train, 2 val, 2 test), {written // 2} of them kept from before." in caplog.messages


def test_a_repeated_preparation_changes_nothing(raw: Path, tmp_path: Path) -> None:
    out = run("folder", raw, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (*out.rglob("*.nii.gz"),)}
    raw.rename(tmp_path / "elsewhere")
    run("folder", tmp_path / "elsewhere", out)
    assert {path: path.stat().st_mtime_ns for path in (*out.rglob("*.nii.gz"),)} == before
    (out / "labels" / "s2.nii.gz").unlink()
    run("folder", tmp_path / "elsewhere", out)
    np.testing.assert_array_equal(stored(out / "labels" / "s2.nii.gz"), downloads.abdomen(2)[1])


def test_the_record_says_what_was_done(raw: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    out = run("folder", raw, tmp_path / "out", size=(32, 32, 4))
    record = json.loads((out / "prepared.json").read_text())
    expected = {
        "version": sacb_bundle.__version__, "name": "folder", "template": "s0", "alignment": "none",
        "size": [32, 32, 4], "spacing": [2.0, 2.0, 2.0],
    }  # fmt: skip
    assert {key: record["settings"][key] for key in expected} == expected
    facts = record["subjects"]["s3"]
    assert facts["sources"].keys() == {"images/s3.nii.gz", "labels/s3.nii.gz"}
    assert facts["alignment"] == np.eye(4).tolist()
    lost = set(np.unique(downloads.abdomen(3)[1])) - set(np.unique(downloads.abdomen(3)[1][:, :, 14:18]))
    assert facts["labels_lost"] == sorted(lost) != []
    labels = downloads.abdomen(3)[1] > 0
    assert facts["labels_inside"] == round(labels[:, :, 14:18].sum() / labels.sum(), 3)
    assert any(
        re.fullmatch(
            r"4 of 6: s3; \d\d\.\d% of its labelled .* outside the grid; labels without a voxel left: .*", line
        )
        for line in caplog.messages
    )


def test_subjects_to_look_at_are_named_in_the_end(raw: Path, tmp_path: Path, caplog: Any) -> None:
    (raw / "labels" / "s4.nii.gz").unlink()
    for _ in range(2):  # also when all are kept from before
        caplog.clear()
        run("folder", raw, tmp_path / "out", size=(32, 32, 4))
        assert "No label map was found of s4." in caplog.messages
        assert caplog.messages[-1].startswith("Look at s0, s1, s2, s3, s5: the alignment turns by more than 60 degrees")


@pytest.mark.parametrize("degrees", [50, 80])
def test_a_subject_that_was_turned_far_is_to_be_looked_at(
    degrees: int, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = downloads.images(tmp_path / "raw", labelled=False)
    downloads.write(raw / "images" / "s1.nii.gz", downloads.abdomen(1)[0], np.diag([3.0, 2, 2, 1]))
    turned, angle = np.eye(4), np.radians(degrees)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    monkeypatch.setattr("sacb_bundle.spatial.alignment_cache.align", lambda *given: turned)
    run("folder", raw, tmp_path / "out")
    assert any(message.startswith("Look at s0, s1, s2") for message in caplog.messages) == (degrees > 60)


def test_what_is_prepared_is_never_mixed(raw: Path, tmp_path: Path) -> None:
    out = run("folder", raw, tmp_path / "out")
    before = contents(out)
    template = raw / "images" / "s1.nii.gz"
    for options, message in (
        ({"size": (16, 16, 16)}, r"was prepared with size \[32, 32, 32\], not \[16, 16, 16\]; choose another folder"),
        ({"spacing_mm": 4.0}, r"was prepared with spacing \[2.0, 2.0, 2.0\], not \[4.0, 4.0, 4.0\]"),
        (
            {"spacing_mm": 4.0, "size": (32, 32, 32)},
            r"was prepared with spacing \[2.0, 2.0, 2.0\], not \[4.0, 4.0, 4.0\]",
        ),
        ({"template": template}, r'was prepared with template "s0", not "s1\.nii\.gz \(SHA-256 [0-9a-f]{64}\)"'),
    ):
        with pytest.raises(InputError, match=message):
            run("folder", raw, out, **options)
    (raw / "dataset.json").write_text(json.dumps({"split": {"train": ["s0", "s1"], "val": ["s2", "s3"]}}))
    with pytest.raises(InputError, match="was prepared with "):
        run("folder", raw, out)
    (raw / "dataset.json").unlink()
    downloads.write(raw / "labels" / "s4.nii.gz", downloads.abdomen(9)[1])
    with pytest.raises(
        InputError, match=r"s4 was prepared from images/s4\.nii\.gz, labels/s4\.nii\.gz, which are not what they were"
    ):
        run("folder", raw, out)
    assert contents(out) == before


def test_folders_that_hold_other_files_are_left_alone(raw: Path, tmp_path: Path) -> None:
    other = downloads.images(tmp_path / "other", subjects=1)
    before = contents(other)
    with pytest.raises(
        InputError, match=r"other: holds files, but no prepared\.json; prepare into a folder of its own"
    ):
        run("folder", raw, other)
    assert contents(other) == before
    for content in ("[]", '{"settings": 3}', '{"settings": {}, "subjects": {"a": 1}}'):
        (other / "prepared.json").write_text(content)
        with pytest.raises(InputError, match=r"prepared\.json: is no record of a preparation"):
            run("folder", raw, other)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("out", ["raw", "raw/out", "raw/images/out", ".", "link/out"])
def test_neither_folder_may_be_in_the_other(name: str, out: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "link").symlink_to(raw)
    with pytest.raises(InputError, match=r"must be outside the download .*raw, and not hold it; choose another folder"):
        run(name, raw, tmp_path / out)
    assert not any(raw.iterdir())


def test_two_processes_do_not_prepare_into_one_folder(raw: Path, tmp_path: Path) -> None:
    out = run("folder", raw, tmp_path / "out")
    taken = lock(out / ".preparing.lock")
    with pytest.raises(InputError, match="another process is writing results there"):
        run("folder", raw, out)
    taken.release()
    with PreparedFolder(tmp_path / "other", {}).writing({}):
        assert (tmp_path / "other" / "dataset.json").is_file()


def test_an_odd_file_is_named_and_the_rest_continues(raw: Path, tmp_path: Path) -> None:
    good = (raw / "labels" / "s3.nii.gz").read_bytes()
    for spoil, message in (
        (lambda path: downloads.write(path, np.full(downloads.PHANTOM, 0.5)), "a label map holds whole numbers"),
        (lambda path: downloads.write(path, np.ones((4, 5, 6), np.uint8)), "Both must be on the same grid"),
        (lambda path: path.write_bytes(good[:100]), "damaged or cut short"),
    ):
        spoil(raw / "labels" / "s3.nii.gz")
        with pytest.raises(InputError, match=rf"s3\.nii\.gz.*{message}"):
            run("folder", raw, tmp_path / "out")
        assert {path.name for path in tmp_path.glob("out/*/s*.nii.gz")} == {"s0.nii.gz", "s1.nii.gz", "s2.nii.gz"}
    (raw / "labels" / "s3.nii.gz").write_bytes(good)
    run("folder", raw, tmp_path / "out")
    assert len(read_dataset(tmp_path / "out").test) == 2


def test_a_label_map_without_labels(raw: Path, tmp_path: Path) -> None:
    downloads.write(raw / "labels" / "s3.nii.gz", np.zeros(downloads.PHANTOM, np.uint8))
    out = run("folder", raw, tmp_path / "out")
    assert stored(out / "labels" / "s3.nii.gz").max() == 0
    assert json.loads((out / "prepared.json").read_text())["subjects"]["s3"]["labels_lost"] == []


def test_a_pickle_on_another_grid_is_named(tmp_path: Path) -> None:
    raw = downloads.pickled_ixi(tmp_path / "raw")
    image, labels = downloads.textured(downloads.ixi_labels(), 0), downloads.ixi_labels()
    (raw / "Test" / "subject_Test1.pkl").write_bytes(downloads.pickle.dumps((image, labels)))
    with pytest.raises(InputError, match=r"subject_Test1\.pkl has 20x28x24 voxels .*, but atlas has 20x24x28"):
        run("ixi", raw, tmp_path / "out", size=(20, 24, 28))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing_mm": 0}, "spacing is 0; it must be a number of mm"),
        ({"size": (32, 32)}, r"size is \(32, 32\); it must be three whole numbers"),
        ({"size": (32, 1, 32)}, "size is 1; it must be a whole number of at least 2"),
        ({"size": (10**6,) * 3}, "needs about .* GB of memory"),
        ({"template": "nowhere.nii.gz"}, r"nowhere\.nii\.gz: no such file"),
    ],
)
def test_odd_options(options: dict[str, Any], message: str, raw: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run("folder", raw, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_name_and_the_folder_are_checked(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name is 'brains'; it must be one of ixi, lpba40, abdomen-ct, oasis, folder"):
        run("brains", raw, tmp_path / "out")
    with pytest.raises(InputError, match=r"raw: there is no folder .*nowhere"):
        run("folder", tmp_path / "nowhere", tmp_path / "out")


def test_the_verb(raw: Path, tmp_path: Path, capsys: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    call = ["prepare", "folder", str(raw), str(tmp_path / "$out"), "--size", "16", "32", "32", "--spacing", "2"]
    with stopped_at(2), pytest.raises(SystemExit) as ended:
        main(call)
    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith("Interrupted. The same call continues.\n")
    assert main(call) == 0
    assert any(line.startswith("6 of 6: s5") for line in caplog.messages)
    np.testing.assert_array_equal(stored(tmp_path / "$out" / "images" / "s5.nii.gz"), downloads.abdomen(5)[0][8:24])
    assert main([*call, "--spacing", "4"]) == 1
    assert re.search(r"error: .*\$out: was prepared with spacing", capsys.readouterr().err)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "brains", str(raw), str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "invalid choice: 'brains'" in capsys.readouterr().err


def test_the_config_runs_the_same(raw: Path, tmp_path: Path) -> None:
    run("folder", raw, tmp_path / "verb", size=(16, 32, 32))
    made = workflow("prepare", raw=str(raw), output_dir=str(tmp_path / "config"), size=(16, 32, 32))
    made.run()
    assert contents(tmp_path / "config") == contents(tmp_path / "verb")


@pytest.mark.slow
def test_names_stay_text_in_the_bundle(raw: Path, tmp_path: Path) -> None:
    raw.rename(tmp_path / "1e5")
    arguments = ("preparing", "--config_file", "configs/prepare.json", "--raw", str(tmp_path / "1e5"))
    done = bundle(*arguments, "--name", "folder", "--output_dir", str(tmp_path / "1_0"), "--size", "[16,32,32]")
    assert done.returncode == 0, done.stderr
    assert len(read_dataset(tmp_path / "1_0").train) == 2
    assert_one_error(bundle(*arguments, "--name", "1e5"), "name is '1e5'; it must be one of")
