from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacb_bundle.data import list_pairs, read_data_list
from sacb_bundle.data.data_list import distinct_names
from sacb_bundle.errors import InputError


def test_data_list_is_relative_to_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([{"moving": "a.nii.gz", "fixed": "/b.nii"}, {"moving": "c", "fixed": "d", "id": "x"}]))
    assert read_data_list(path) == [
        {"id": "a_to_b", "moving": str(tmp_path / "a.nii.gz"), "fixed": "/b.nii"},
        {"id": "x", "moving": str(tmp_path / "c"), "fixed": str(tmp_path / "d")},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not valid JSON"),
        ("[]", 'must be a list of objects with "moving" and "fixed"'),
        ('{"moving": "a"}', "must be a list of objects"),
        ('[{"moving": "a"}]', r"pair 1 has the keys \['moving'\]"),
        ('[{"moving": "a", "fixed": "b", "labels": "c"}]', "pair 1 has the keys"),
        ('[{"moving": "a", "fixed": 3}]', "every value must be a string"),
        (
            '[{"moving": "a", "fixed": "b"}, {"moving": "a", "fixed": "b"}]',
            "two pairs have the ids 'a_to_b' and",
        ),
        (json.dumps([{"moving": "a", "fixed": "b", "id": "é" * 128}]), "longer than the 255 bytes"),
        *(
            (json.dumps([{"moving": "a", "fixed": "b", "id": name}]), "cannot name a folder")
            for name in ("../x", "", " ", ".", ".hidden", "a\\b", "a\nb", "\udcff")
        ),
        ('{"registration_val": 5}', "a list registration_val or registration_test"),
        ("[" * 100_000, "not valid JSON"),
        ('[{"moving": "a", "fixed": "b", "id": "A"}, {"moving": "a", "fixed": "c", "id": "a"}]', "'A' and 'a'"),
        (json.dumps([{"moving": "a\0", "fixed": "b", "id": "x"}]), "null byte"),
    ],
)
def test_wrong_data_list_is_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_data_list(path)
    assert "pairs.json" in str(error.value)


def test_missing_data_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs\.json: no such file"):
        list_pairs("anywhere", str(tmp_path / "pairs.json"))


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(
        "\ufeffFixed, moving,fixed_labels,moving_labels,moving_mask,id\n"
        "a b.nii.gz,ü.nii,/l/a.nii,,,\n"
        "\n"
        '"x,y.nii.gz",c.d.nii.gz,,m.nii,k.nii,case 1\n',
        encoding="utf-8",
    )
    assert read_data_list(path) == [
        {
            "id": "ü_to_a b",
            "fixed": str(tmp_path / "a b.nii.gz"),
            "moving": str(tmp_path / "ü.nii"),
            "fixed_labels": "/l/a.nii",
        },
        {
            "id": "case 1",
            "fixed": str(tmp_path / "x,y.nii.gz"),
            "moving": str(tmp_path / "c.d.nii.gz"),
            "moving_labels": str(tmp_path / "m.nii"),
            "moving_mask": str(tmp_path / "k.nii"),
        },
    ]


ROWS = "fixed,moving,id\nb.nii,a.nii,x\n"
PAIRS = json.dumps([{"fixed": "b.nii", "moving": "a.nii", "id": "x"}])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", ("\ufeff" + ROWS.replace("\n", "\r\n")).encode()),
        ("semicolons.csv", ROWS.replace(",", ";").encode()),
        ("tabs.tsv", ROWS.replace(",", "\t").encode()),
        ("hint.csv", b"sep=;\r\n" + ROWS.replace(",", ";").encode()),
        ("spreadsheet.csv", ROWS.replace("\n", ",,\r\n").encode() + b",,,,\r\n \r\n,,,,\r\n"),
        ("blank.csv", b"\n\n" + ROWS.replace("\n", "\n\n").encode()),
        ("old_mac.csv", ROWS.replace("\n", "\r").encode()),
        ("utf16.csv", ROWS.encode("utf-16")),
        ("big_endian.csv", "\ufeff".encode("utf-16-be") + ROWS.encode("utf-16-be")),
        ("table.txt", ROWS.encode()),
        ("table", ROWS.encode()),
        ("Table.CSV", b" Fixed ; Moving ;ID\n b.nii ; a.nii ;x\n"),
        ("bom.json", b"\xef\xbb\xbf" + PAIRS.encode()),
        ("utf16.json", PAIRS.encode("utf-16")),
        ("pairs.txt", b"\n" + PAIRS.encode()),
        ("Pairs.JSON", PAIRS.encode()),
    ],
)
def test_lists_as_programs_write_them(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_data_list(tmp_path / name) == [
        {"id": "x", "fixed": str(tmp_path / "b.nii"), "moving": str(tmp_path / "a.nii")}
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(99), r"a ZIP archive, as spreadsheets \(.xlsx\) are too; .* as CSV"),
        (ROWS.encode("utf-16-le"), "contains null bytes; save it as UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\n,,\n", "has no column fixed and no column moving"),
        (b"fixed,image\na,b\n", r"has no column moving; it has \['fixed', 'image'\]"),
        (b"fixed|moving\na|b\n", r"it has \['fixed\|moving'\]"),
        (b"fixed,moving,age\na,b,7\n", r"the columns \['age'\] are unknown"),
        (b"fixed,moving,moving\na,b,c\n", "has a column twice"),
        (b"fixed,moving\n", "lists no pairs"),
        (b"fixed,moving\na,b\na,\n", "line 3: names no moving image"),
        (b"fixed,moving\na,b,c\n", r"line 2: has more cells than there are columns \(2\)"),
        (b"fixed,moving\na,M\xfcller\n", r"not UTF-8 text \(line 2\)"),
    ],
)
def test_wrong_table_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_data_list(tmp_path / "pairs.csv")
    assert "pairs.csv" in str(error.value)


def test_an_unreadable_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").symlink_to("/proc/self/mem")  # unreadable from its beginning
    with pytest.raises(InputError, match=r"pairs\.csv: cannot be read: "):
        read_data_list(tmp_path / "pairs.csv")


def test_folders_tell_files_of_one_name_apart(tmp_path: Path) -> None:
    names = ["s1/t1.nii.gz", "s2/t1.nii.gz", "s2/ct.nii.gz"]
    entries = [{"moving": moving, "fixed": fixed} for moving in names for fixed in names if moving != fixed]
    (tmp_path / "pairs.json").write_text(json.dumps(entries))
    assert [pair["id"] for pair in read_data_list(tmp_path / "pairs.json")] == [
        "s1_t1_to_s2_t1", "s1_t1_to_ct", "s2_t1_to_s1_t1", "s2_t1_to_ct", "ct_to_s1_t1", "ct_to_s2_t1",
    ]  # fmt: skip


def test_learn2reg_data_set(tmp_path: Path) -> None:
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr" / "b_0000.nii.gz").touch()
    entry = {"fixed": "./imagesTr/a_0000.nii.gz", "moving": "./imagesTr/b_0000.nii.gz"}
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"name": "x", "training": [], "registration_val": [entry]}))
    assert read_data_list(path) == [
        {
            "id": "b_0000_to_a_0000",
            "fixed": str(tmp_path / "imagesTr" / "a_0000.nii.gz"),
            "moving": str(tmp_path / "imagesTr" / "b_0000.nii.gz"),
            "moving_labels": str(tmp_path / "labelsTr" / "b_0000.nii.gz"),
        }
    ]
    path.write_text(json.dumps({"registration_test": [{"fixed": "a.nii", "moving": "b.nii"}]}))
    assert [pair["id"] for pair in read_data_list(path)] == ["b_to_a"]
    path.write_text(json.dumps({"registration_val": [{"fixed": "a"}]}))
    with pytest.raises(InputError, match="pair 1 of registration_val lacks a fixed or moving image"):
        read_data_list(path)


def test_names_that_no_folder_tells_apart_do_not_grow(tmp_path: Path) -> None:
    names = {"a/b/t1.nii": "t1", "a/b/t1.nii.gz": "t1", "a/b/t2.nii": "t2"}
    assert distinct_names(names) == names


def test_older_names_of_label_maps_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([{"moving": "a", "fixed": "b", "seg_moving": "c", "seg_fixed": "d"}]))
    (pair,) = read_data_list(path)
    assert (pair["moving_labels"], pair["fixed_labels"]) == (str(tmp_path / "c"), str(tmp_path / "d"))
