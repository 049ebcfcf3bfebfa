"""Pickles are read without running what they hold."""

from __future__ import annotations

import codecs
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacb_bundle.datasets import pickles
from sacb_bundle.datasets.pickles import read_pair_of_arrays
from sacb_bundle.datasets.prepare import prepare
from sacb_bundle.errors import InputError
from tests.datasets import downloads
from tests.engine.workflows import ROOT

IMAGE, LABELS = np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.ones((2, 3, 4), np.uint16)


class Hostile:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Stated(Hostile):
    """An object whose unpickling calls a function, and gives the result a state."""

    def __init__(self, function: Any, arguments: tuple, state: Any) -> None:
        self.call = function, arguments, state


RECONSTRUCT, FROM_BUFFER = (np.empty(0).__reduce_ex__(protocol)[0] for protocol in (4, 5))
FLOAT_STATE = (3, "<", None, None, None, -1, -1, 0)
FLOAT = Stated(np.dtype, ("f4", False, True), FLOAT_STATE)
# A type of pointers to objects, of which its state says that it is not.
POINTERS = Stated(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))


def forged(shape: Any, dtype: Any, data: Any, version: Any = 1) -> Stated:
    """An array of which a pickle says what it likes."""
    return Stated(RECONSTRUCT, (np.ndarray, (0,), b"b"), (version, shape, dtype, False, data))


def named_as_in(core: bytes, content: bytes) -> bytes:
    """Name the modules in a small pickle as a generation of numpy does."""

    def renamed(found: re.Match[bytes]) -> bytes:
        name = core + found[2]
        return (b"\x8c" + bytes([len(name)]) if found[1] else b"c") + name

    if content[2:3] == b"\x95":  # without the frame, whose length changes
        content = content[:2] + content[11:]
    return re.sub(rb"(?:(\x8c).|c)numpy\._?core(\.multiarray|\.numeric)", renamed, content, flags=re.DOTALL)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("kind", [tuple, list])
def test_arrays_are_read(kind: type, byte_order: str, order: Any, protocol: int, core: bytes, tmp_path: Path) -> None:
    pair = kind([np.asarray(IMAGE - 0.5, f"{byte_order}f4", order=order), LABELS.astype(f"{byte_order}u2")])
    content = named_as_in(core, pickle.dumps(pair, protocol=protocol))
    assert core + (b".numeric" if protocol == 5 else b".multiarray") in content
    (tmp_path / "a.pkl").write_bytes(content)
    image, labels = read_pair_of_arrays(tmp_path / "a.pkl")
    np.testing.assert_array_equal(image, IMAGE - 0.5)
    np.testing.assert_array_equal(labels, LABELS)
    assert (image.dtype, labels.dtype) == (np.float32, np.uint16)
    assert image.flags.writeable


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "<i2", ">i4", "<u8", ">f2", "<f8"])
def test_all_types_of_numbers_are_read_from_views(dtype: str, protocol: int, tmp_path: Path) -> None:
    image = (IMAGE % 5 * 7).astype(dtype)
    pair = image.transpose(2, 0, 1), image[:, ::-1, ::2]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(pair, protocol=protocol))
    for array, expected in zip(read_pair_of_arrays(tmp_path / "a.pkl"), pair, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("content", [
    (Hostile(np.ndarray, forged((2,), POINTERS, b"A" * 16)), LABELS),
    (forged((2, 3, 4), POINTERS, b"A" * 192), LABELS),
    (Hostile(FROM_BUFFER, bytearray(192), POINTERS, (2, 3, 4), "C"), LABELS),
    (Stated(np.dtype, ("f4", False, True), (3, "<", None, ("a",), {"a": (POINTERS, 0)}, 8, 8, 63)), LABELS),
])  # fmt: skip
def test_forged_objects_of_numpy_do_not_break_the_memory(content: object, protocol: int, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    code = "from pathlib import Path; from sacb_bundle.datasets.pickles import read_pair_of_arrays as read; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print(read(Path('a.pkl')))"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1  # not that of a signal
    assert re.match(r"sacb_bundle\.errors\.InputError: a\.pkl: ", done.stderr.splitlines()[-1])
    assert not done.stdout


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (forged((2, 3, 4), FLOAT, b"A" * 95), "more or fewer bytes than its shape needs"),
        (forged((2, 3, 4), FLOAT, b"A" * 97), "more or fewer bytes than its shape needs"),
        (forged((2**32, 2**32, 4), FLOAT, b""), "more or fewer bytes than its shape needs"),
        (forged((2, 3, 4), FLOAT, [1.0] * 24), "more or fewer bytes than its shape needs"),
        (forged((-2, -3, 4), FLOAT, b"A" * 96), "shape is not a tuple of whole numbers from 0"),
        (forged((2.0, 3, 4), FLOAT, b"A" * 96), "shape is not a tuple of whole numbers from 0"),
        (forged([2, 3, 4], FLOAT, b"A" * 96), "shape is not a tuple of whole numbers from 0"),
        (forged((2, 3, 4), POINTERS, b"A" * 192), "holds an array of the type 'O8'"),
        (forged((2, 3, 4), Stated(np.dtype, ("f4", 0, 1), (3, "?", *FLOAT_STATE[2:])), b"A" * 96), "byte order"),
        (
            forged((2, 3, 4), Stated(np.dtype, ("f4", 0, 1), (*FLOAT_STATE[:7], 63)), b"A" * 96),
            "array of the type 'f4'",
        ),
        (forged((2, 3, 4), FLOAT, Hostile(codecs.encode, "A" * 96, "utf-8")), "not encoded in latin1"),
        (forged((2, 3, 4), b"f4", b"A" * 96), "is no pickle, or is damaged"),
        (Hostile(RECONSTRUCT, np.ndarray, (2, 3, 4), b"f"), "is no pickle, or is damaged"),
        (np.array([[["a"]]]), "holds an array of the type 'U1'"),
        (np.zeros((2, 3, 4), "f4,i2"), "holds an array of the type 'V6'"),
        (np.zeros((2, 3, 4), "c8"), "holds an array of the type 'c8'"),
        (np.zeros((2, 3, 4), "M8[s]"), "holds an array of the type 'M8'"),
    ],
)
def test_arrays_that_are_forged_or_not_of_numbers_are_refused(array: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps((array, LABELS), protocol=4))
    with pytest.raises(InputError, match=rf"a\.pkl: .*{message}"):
        read_pair_of_arrays(tmp_path / "a.pkl")


def test_bools_are_0_or_1_whatever_their_bytes_are(tmp_path: Path) -> None:
    bools = Stated(np.dtype, ("b1", False, True), (3, "|", None, None, None, -1, -1, 0))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps((forged((2, 3, 4), bools, b"\x00\xff" * 12), LABELS)))
    image, _ = read_pair_of_arrays(tmp_path / "a.pkl")
    np.testing.assert_array_equal(image.view(np.uint8).ravel(), [0, 1] * 12)


@pytest.mark.parametrize("named", ["numpy\ndtype", "_codecs\nencode", "numpy\nndarray"])
def test_a_pickle_cannot_change_what_it_names(named: str, tmp_path: Path) -> None:
    changed = f"c{named}\n(N(S'__doc__'\nS'changed'\ndtb.".encode()  # gives the class itself a state
    (tmp_path / "a.pkl").write_bytes(changed)
    with pytest.raises(InputError, match="is no pickle, or is damaged"):
        read_pair_of_arrays(tmp_path / "a.pkl")
    module, name = named.split()
    assert "changed" not in str(pickles._ADMITTED[module, name].__doc__)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Hostile(eval, "open('made', 'w')"), r"(builtins|__builtin__)\.eval"),
        ((IMAGE, Hostile(exec, "open('made', 'w')")), r"(builtins|__builtin__)\.exec"),
        ([IMAGE, Hostile(open, "made", "w")], r"io\.open"),
        ((IMAGE, np.load), r"numpy\.load"),
        ((Path("a"), LABELS), r"pathlib"),
    ],
)
def test_anything_else_is_refused_by_its_name(
    content: object, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 3, 4):
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
        ((IMAGE.astype(object), LABELS), "holds an array of the type 'O8'"),
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
