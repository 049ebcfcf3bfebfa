from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.engine.workflows import ROOT


def test_demo_improves_the_overlap_and_writes_what_it_names(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--output", str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    before, after, folding = (
        float(re.search(rf"{name}\s+([\d.]+)", output)[1])  # type: ignore[index]
        for name in ("Dice before registration", "Dice after registration", "folding")
    )
    assert after > before + 0.1
    assert folding < 1
    for name in ("warped.nii.gz", "transform.nii.gz", "picture.jpg"):
        assert Path(re.search(rf"{re.escape(name)}\s+(\S+)", output)[1]).is_file()  # type: ignore[index]
