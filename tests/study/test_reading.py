"""Count how often a study opens its inputs and the weights."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.study.runs import SMALL

PROGRAM = """
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
from sacb_bundle.spatial.gzip_stream import GzipStream
readinto = GzipStream.readinto
ends = []
def counted(stream, buffer):
    number = readinto(stream, buffer)
    if not number:
        ends.append(stream)
    return number
GzipStream.readinto = counted
from sacb_bundle.commands import main
status = main(sys.argv[1:])
print("opened", *(path for path in opened if path.endswith(".nii.gz") and "/scans/" in path), sep="\\n")
print("decompressed to the end", len(ends))
print("weights opened", sum(path == sys.argv[sys.argv.index("--model") + 1] for path in opened))
raise SystemExit(status)
"""


def test_a_case_opens_and_decompresses_each_input_once(table: Path, model: Path, tmp_path: Path) -> None:
    with open(table, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[:1]
    for column in ("fixed", "moving", "fixed_labels", "moving_labels"):  # no blanks, for the output below
        path = tmp_path / rows[0][column]
        rows[0][column] = str(path.rename(path.with_name(path.name.replace(" ", "_"))))
    with open(tmp_path / "one.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    options = ["--pairs", tmp_path / "one.csv", "--output", tmp_path / "out", "--model", model, "--jobs", 0]
    command = [sys.executable, "-c", PROGRAM, "batch", *map(str, options), *SMALL]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    opened = Counter(said.rpartition("opened\n")[2].partition("decompressed")[0].split())
    # Once for the header, which the plan reads, and once for the case.
    assert opened == {rows[0][column]: 2 for column in ("fixed", "moving", "fixed_labels", "moving_labels")}
    assert said.splitlines()[-2:] == ["decompressed to the end 4", "weights opened 1"]
