"""Write the atlas that ships with the bundle: a brain-like phantom defined by formulas."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from sacb_bundle.data.atlases import IMAGE, LABELS, NAMES
from sacb_bundle.data.phantom import SPACING_MM, phantom
from sacb_bundle.errors import InputError
from sacb_bundle.files import make_folder
from sacb_bundle.spatial import Grid, Volume, write_volume

ROOT = Path(__file__).resolve().parent.parent
SHAPE = (80, 96, 80)
LABEL_NAMES = {
    1: "outer brain",
    2: "inner brain",
    3: "left ventricle",
    4: "right ventricle",
    5: "left deep nuclei",
    6: "right deep nuclei",
    7: "cerebellum",
}


def main() -> None:
    """Write the atlas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "atlas" / "phantom", help="folder to write the atlas to")
    output = parser.parse_args().output
    try:
        make_folder(output)
    except InputError as error:
        sys.exit(f"error: {error}")
    grid = Grid(SHAPE, np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0]))
    for values, name in zip(phantom(SHAPE), (IMAGE, LABELS), strict=True):
        write_volume(Volume(values, grid), output / name)
    (output / NAMES).write_text(json.dumps(LABEL_NAMES, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
