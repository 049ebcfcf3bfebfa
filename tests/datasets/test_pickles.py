"""Pickles are read without running what they hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacb_bundle.datasets.pickles import read_pair_of_arrays
from sacb_bundle.datasets.prepare import prepare
from sacb_bundle.errors import InputError
from tests.datasets import downloads

IMAGE, LABELS = np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.ones((2, 3, 4), np.uint16)


class Hostile:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read(kind: type, protocol: int, order: Any, tmp_path: Path) -> None:
    pair = kind([np.asarray(IMAGE, order=order), LABELS])
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(pair, protocol=protocol))
    image, labels = read_pair_of_arrays(tmp_path / "a.pkl")
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(labels, LABELS)
    assert labels.dtype == np.uint16


def test_arrays_of_either_generation_of_numpy(tmp_path: Path) -> None:
    content = pickle.dumps((IMAGE, LABELS), protocol=3)
    for core in (b"numpy.core", b"numpy._core"):
        text = content.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
        (tmp_path / "a.pkl").write_bytes(text)
        np.testing.assert_array_equal(read_pair_of_arrays(tmp_path / "a.pkl")[0], IMAGE)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Hostile(eval, "open('made', 'w')"), r"builtins\.eval"),
        ((IMAGE, Hostile(exec, "open('made', 'w')")), r"builtins\.exec"),
        ([IMAGE, Hostile(open, "made", "w")], r"io\.open"),
        ((IMAGE, np.load), r"numpy\.load"),
        ((Path("a"), LABELS), r"pathlib"),
    ],
)
def test_anything_else_is_refused_by_its_name(
    content: object, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (3, 4):
        Path("a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(InputError, match=rf"a\.pkl: holds {named}.*; of a pickle, only arrays of numpy are read\."):
            read_pair_of_arrays(Path("a.pkl"))
    assert not Path("made").exists()


def test_a_hostile_pickle_in_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = downloads.pickled_ixi(tmp_path / "raw")
    (raw / "Val" / "subject_Val0.pkl").write_bytes(pickle.dumps(Hostile(eval, "open('made', 'w')")))
    with pytest.raises(InputError, match=r"subject_Val0\.pkl: holds builtins\.eval"):
        prepare("ixi", raw, tmp_path / "out", size=(20, 24, 28))
    assert not Path("made").exists()
    assert not (tmp_path / "out" / "images" / "subject_Val0.nii.gz").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no pickle, or is damaged or cut short"),
        (b"no pickle", "is no pickle, or is damaged or cut short"),
        (pickle.dumps((IMAGE, LABELS))[:-20], "is no pickle, or is damaged or cut short"),
        (pickle.dumps(IMAGE), "must hold a tuple or list of two arrays"),
        (pickle.dumps((IMAGE, LABELS, LABELS)), "must hold a tuple or list of two arrays"),
        (pickle.dumps((IMAGE, LABELS[0])), "must hold a tuple or list of two arrays"),
        (pickle.dumps({"image": IMAGE}), "must hold a tuple or list of two arrays"),
    ],
)
def test_odd_pickles(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.pkl: {message}"):
        read_pair_of_arrays(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((IMAGE.astype(object), LABELS), "its voxels are of type object"),
        ((IMAGE, LABELS[:1]), r"its label map must hold numbers, and have the shape \(2, 3, 4\)"),
        ((IMAGE, LABELS.astype(bool)), "its label map must hold numbers"),
    ],
)
def test_odd_arrays(pair: tuple, message: str, tmp_path: Path) -> None:
    raw = downloads.pickled_ixi(tmp_path / "raw")
    if pair[1].dtype == LABELS.dtype and pair[1].shape == LABELS.shape:  # a label map that tells the axes
        labels = downloads.ixi_labels()
        pair = np.ones(labels.shape).astype(object), labels
    (raw / "atlas.pkl").write_bytes(pickle.dumps(pair))
    with pytest.raises(InputError, match=rf"atlas\.pkl.*{message}"):
        prepare("ixi", raw, tmp_path / "out")
