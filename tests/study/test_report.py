from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from PIL import Image

from sacb_bundle.commands import main
from sacb_bundle.quality import flags_of
from sacb_bundle.results.record import FORMAT
from sacb_bundle.study.records import read_records
from sacb_bundle.study.report import write_report
from tests.study.runs import contents, rows_of

HOSTILE = "<img src=x onerror=alert(1)>&\"'"
MEASURES = {
    "similarity_before": 0.3,
    "similarity_after": 0.5,
    "folding_percent": 0.05,
    "displacement_mean_mm": 1.0,
    "displacement_max_mm": 9.0,
    "displacement_border_mm": 2.0,
    "inverse_failed_percent": 0.0,
    "alignment_shift_mm": 3.0,
    "alignment_turn_degrees": 5.0,
    "alignment_scale": 1.05,
    "mutual_information": 0.6,
    "way_back_percent": 3.0,
    "mirror_evidence": -0.3,
    "trust": 0.95,
    "alignment_alone": False,
    "uniform_scale": False,
    "fixed_in_view_percent": 95.0,
    "moving_in_view_percent": 75.0,
    "fixed_beyond_percent": 0.0,
    "moving_beyond_percent": 12.5,
    "fixed_header_lost": False,
    "moving_header_lost": False,
    "fixed_modality": "mr",
    "moving_modality": "mr",
    "fixed_background": 0.0,
    "moving_background": None,
    "fixed_range": [0.0, 400.0],
    "moving_range": [-1000.0, None],
    "fixed_spacing": [1.0, 1.0, 1.0],
    "fixed_extent": [200.0, 200.0, 180.0],
    "moving_extent": [200.0, 200.0, 180.0],
    "moving_spacing": [1.0, 1.0, 3.0],
    "spacing": 2.0,
    "refine_steps": 3,
    "refined": True,
    "refine_reason": "",
    "refine_similarity": "lncc",
    "refine_best_step": 2,
    "loss_before": -0.3,
    "loss_after": -0.5,
    "loss_curve": [-0.3, -0.4, -0.5, None],
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A study of six cases.

    Four are done: a good one, one that is good and flagged, one that the images disagree in, and one with a hostile
    name, whose trust is low. One could not be registered, and one is missing.
    """
    cases = {
        "plain": {
            "measures": MEASURES | {"dice_before": 0.5, "dice_after": 0.7, "hd95_before": 3.0, "hd95_after": 2.0}
        },
        "folded": {"measures": MEASURES | {"folding_percent": 12.0, "dice_before": 0.4, "dice_after": 0.45}},
        "apart": {"measures": MEASURES | {"trust": 0.1}},
        HOSTILE: {"measures": MEASURES | {"trust": 0.4}, "inputs": {"fixed": f"/{HOSTILE}", "moving": "m"}},
        "broken": {"format": FORMAT, "error": f"{HOSTILE}: no such file."},
    }
    for name, content in cases.items():
        folder = tmp_path / "out" / name
        folder.mkdir(parents=True)
        record = {
            "format": FORMAT,
            "id": name,
            "inputs": {},
            "hashes": {},
            "settings": "",
            "results": {"warped.nii.gz": 1},
        }
        record["seconds"] = {"prepare": 1.0, "network": 2.0, "finish": 0.5}
        name = "error.json" if "error" in content else "case.json"
        (folder / name).write_text(json.dumps(content if "error" in content else record | content))
        if "measures" in content:
            Image.new("RGB", (40, 20), (200, 30, 30)).save(folder / "picture.jpg")
    study = {
        "format": FORMAT,
        "cases": [{"id": name, "fixed": "f", "moving": "m"} for name in (*cases, "absent")],
    }
    (tmp_path / "out" / "study.json").write_text(json.dumps(study))
    return tmp_path / "out"


class Elements(HTMLParser):
    """Collect all tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_report_tables_and_summary(output: Path) -> None:
    before = contents(output)
    assert main(["report", str(output)]) == 0
    assert contents(output) == before
    rows = rows_of(output)
    assert {name: row["status"] for name, row in rows.items()} == {
        "plain": "done", "folded": "done", "apart": "done", HOSTILE: "done", "broken": "failed", "absent": "missing"
    }  # fmt: skip
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "plain": "good", "folded": "good", "apart": "failed", HOSTILE: "doubtful", "broken": "", "absent": ""
    }  # fmt: skip
    assert rows["folded"]["flags"] == "folds at 12.00 % of the voxels"
    assert rows["plain"]["seconds"] == "3.5"
    summary = json.loads((output / "summary.json").read_text())
    assert summary["failed"] == ["broken"]
    assert summary["missing"] == ["absent"]
    assert summary["verdicts"] == {"good": 2, "doubtful": 1, "failed": 1}
    agree = "the images agree hardly better than unrelated ones"
    assert summary["flagged"] == {
        "folded": ["folds at 12.00 % of the voxels"],
        "apart": [f"{agree} (trust 0.10)"],
        HOSTILE: [f"{agree} (trust 0.40)"],
    }
    assert summary["dice_after"]["mean"] == pytest.approx(0.575)


def test_the_page_is_escaped_and_fetches_nothing(output: Path) -> None:
    assert main(["report", str(output)]) == 0
    page = (output / "report.html").read_text(encoding="utf-8")
    elements = Elements(page).found
    assert HOSTILE not in page
    assert not [attributes for tag, attributes in elements if "onerror" in attributes or attributes.get("src") == "x"]
    for _, attributes in elements:
        for name in ("src", "href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://", page)
    assert (
        sum(tag == "img" and (attributes["src"] or "").startswith("data:image/jpeg") for tag, attributes in elements)
        == 4
    )


def test_the_page_shows_verdicts(output: Path) -> None:
    write_report(output)
    page = (output / "report.html").read_text(encoding="utf-8")
    numbers = re.findall(r"<li><b>([^<]*)</b>([^<]*)</li>", page)
    for number, name in [
        ("2", "good"),
        ("1", "doubtful"),
        ("1", "failed"),
        ("3", "to review"),
        ("1", "not registered"),
    ]:
        assert (number, name) in numbers
    for name, verdict in {"plain": "good", "folded": "good", "apart": "failed"}.items():
        (row,) = re.findall(rf'<a href="#case-\d+">{name}</a></td>\s*<td>(.*?)</td>', page, flags=re.DOTALL)
        assert re.findall(r'<span class="(\w+)">([^<]*)</span>', row)[0] == (verdict, verdict)


def test_pictures_of_many_cases_stay_in_their_folders(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacb_bundle.study.report.LEAST_CASES_WITH_LINKS", 5)
    hostile = "javascript:a%2F#b?c"
    (output / "plain").rename(output / hostile)
    study = (output / "study.json").read_text().replace('"plain"', json.dumps(hostile))
    (output / "study.json").write_text(study)
    (output / "folded" / "picture.jpg").unlink()
    (output / "folded" / "picture.jpg").symlink_to(output / "study.json")
    assert main(["report", str(output)]) == 0
    elements = Elements((output / "report.html").read_text(encoding="utf-8")).found
    sources = [str(attributes["src"]) for tag, attributes in elements if tag == "img" and attributes.get("loading")]
    assert sources == ["javascript%3Aa%252F%23b%3Fc/picture.jpg", "apart/picture.jpg", f"{quote(HOSTILE)}/picture.jpg"]
    assert all((output / unquote(source)).is_file() for source in sources)


def test_a_browser_shows_pictures_in_folders(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacb_bundle.study.report.LEAST_CASES_WITH_LINKS", 5)
    assert main(["report", str(output)]) == 0
    script = (
        "const shown = [...document.images].filter(image => image.loading === 'lazy');"
        "for (const image of shown) image.loading = 'eager';"
        "Promise.all(shown.map(image => image.decode())).then("
        "() => { document.title = shown.map(image => image.naturalWidth).join(' '); });"
    )
    assert "<title>40 40 40 40</title>" in browsed(output / "report.html", script, output)


def browsed(page: Path, script: str, tmp_path: Path) -> str:
    """Return the content of a page in a browser after a script."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium to look at the page with")
    text = page.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += [
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=20000",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command = [browser, *options, "--dump-dom", (tmp_path / "page.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def shown_cases(document: str) -> list[str]:
    """Return the names of the cases in the table, in order."""
    return re.findall(r'<td><a href="#case-\d+">(.*?)</a></td>', document)


@pytest.mark.parametrize(
    ("clicks", "first"),
    [((3,), ["folded", "plain"]), ((3, 3), ["plain", "folded"]), ((0,), ["absent", "apart", "broken", "folded"])],
)
def test_the_table_sorts_in_a_browser(clicks: tuple[int, ...], first: list[str], output: Path, tmp_path: Path) -> None:
    assert main(["report", str(output)]) == 0
    script = "".join(f"document.querySelectorAll('#cases th button')[{column}].click();" for column in clicks)
    document = browsed(output / "report.html", script, tmp_path)
    cases = shown_cases(document)
    assert len(cases) == 6
    cases = [case for case in cases if not case.startswith("&lt;")]
    assert cases[: len(first)] == first


def test_only_cases_to_review_in_a_browser(output: Path, tmp_path: Path) -> None:
    assert main(["report", str(output)]) == 0
    script = (
        "document.getElementById('flagged').click();"
        "document.title = [...document.querySelectorAll('#cases tbody tr')].filter(row => row.offsetHeight).length"
        "+ ' of ' + document.querySelectorAll('article').length + ' images '"
        "+ [...document.images].every(image => image.complete || image.loading === 'lazy');"
    )
    assert "<title>5 of 6 images true</title>" in browsed(output / "report.html", script, tmp_path)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({}, ""),
        ({"folding_percent": 2.0}, ""),
        ({"folding_percent": 2.1}, "folds at 2.10 % of the voxels"),
        ({"inverse_failed_percent": 5.0}, ""),
        ({"inverse_failed_percent": 5.5}, "no inverse at 5.5 % of the points"),
        ({"similarity_after": 0.2}, ""),  # the field was fitted to it
        ({"alignment_alone": True}, "the alignment alone: the displacement field brought the images no closer"),
        ({"moving_modality": "ct"}, "CT onto MR"),
        ({"fixed_modality": "ct", "moving_modality": "ct"}, ""),
        ({"vanished": [3, 7]}, "labels vanished: 3, 7"),
        # A doubt about a result is also a flag.
        ({"trust": 0.45}, "the images agree hardly better than unrelated ones (trust 0.45)"),
        ({"alignment_scale": 0.5}, "the alignment scales by 0.50"),
        ({"alignment_turn_degrees": 170.0}, ""),
        ({"mirror_evidence": 0.5}, "left and right look swapped in one of the headers"),
        ({"dice_before": 0.6, "dice_after": 0.5}, "Dice falls: 0.600 to 0.500"),
        ({"dice_before": None, "dice_after": None}, ""),
        ({"labels": []}, "the label maps have no value in common"),
        (
            {"moving_extent": [200.0, 200.0, 10.0]},
            "the moving image is a slab of 10 mm; the position across it is uncertain",
        ),
        ({"fixed_extent": [200.0, 40.0, 200.0]}, ""),
        ({"moving_in_view_percent": 74.0}, "only 74 % of the moving image is in the field of view of the other image"),
        ({"moving_header_lost": True}, "the header of the moving image seems lost; are its voxels of 1 mm?"),
        ({"fixed_beyond_percent": 13.0}, "only 95 % of the fixed image is in the field of view of the other image"),
        (
            {"uniform_scale": True},
            "the alignment has a uniform scale: an affine one would have distorted the image",
        ),
        ({"fixed_extent": [2e5, 2e5, 1.8e5]}, "the fixed image is 2e+05 mm long; are its voxel sizes right?"),
        ({"fixed_extent": [2.0, 2.0, 4.0]}, "the fixed image is 4 mm long; are its voxel sizes right?"),
        ({"fixed_extent": [15.0, 15.0, 12.0]}, ""),
    ],
)
def test_flags(change: dict, flag: str) -> None:
    assert flags_of(MEASURES | change) == ([flag] if flag else [])


@pytest.mark.parametrize("content", [None, "[]", "{}", "{"])
def test_a_folder_that_holds_no_study(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 1
    assert "study.json" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_records_keep_the_order_of_the_list(output: Path) -> None:
    assert [record.id for record in read_records(output)] == ["plain", "folded", "apart", HOSTILE, "broken", "absent"]


def test_a_case_that_failed_shows_nothing_of_an_earlier_run(output: Path) -> None:
    write_report(output)
    pictures = (output / "report.html").read_text().count("data:image/jpeg")
    (output / "plain" / "error.json").write_text(json.dumps({"format": FORMAT, "error": "boom"}))
    (record,) = [record for record in write_report(output) if record.id == "plain"]
    assert (record.status, record.measures, record.flags) == ("failed", {}, [])
    assert (output / "report.html").read_text().count("data:image/jpeg") == pictures - 1


def test_a_record_that_lacks_a_measure_is_none(output: Path) -> None:
    path = output / "plain" / "case.json"
    content = json.loads(path.read_text())
    del content["measures"]["alignment_scale"]
    path.write_text(json.dumps(content))
    assert [record.status for record in write_report(output) if record.id == "plain"] == ["missing"]
