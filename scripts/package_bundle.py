"""Pack the bundle into a zip, with the atlases whose labels MONAI Label is to carry over, and the labels' names."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from sacb_bundle.data import Atlas, check_scan_grids, label_values, read_atlas
from sacb_bundle.data.atlases import IMAGE, LABELS, NAMES
from sacb_bundle.errors import InputError
from sacb_bundle.files import whole_file
from sacb_bundle.spatial import read_image

ROOT = Path(__file__).resolve().parent.parent
NAME = "sacb_net_registration"
PARTS = ("LICENSE", "configs", "docs", "models", "sacb_bundle")
METADATA = "configs/metadata.json"
# The earliest time that a zip can hold, for every file: the same files give the same bytes.
TIME = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    """Pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "dist" / f"{NAME}.zip", help="the zip (default: %(default)s)"
    )
    parser.add_argument(
        "--atlas",
        type=Path,
        nargs="+",
        default=sorted(path.parent for path in (ROOT / "atlas").glob(f"*/{NAMES}")),
        metavar="DIR",
        help=f"folders with {IMAGE}, {LABELS} and {NAMES} (default: those of the bundle)",
    )
    options = parser.parse_args()
    try:
        package(options.output, [checked_atlas(folder) for folder in options.atlas])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(options.output)
    return 0


def checked_atlas(folder: Path) -> Atlas:
    """The atlas in a folder.

    Raises:
        InputError: if it is not whole, or a label has no name.
    """
    atlas = read_atlas(folder.resolve())
    read_image(atlas.image)
    check_scan_grids({"fixed": str(atlas.image), "moving": str(atlas.image), "seg_moving": str(atlas.labels)}, {})
    if nameless := sorted(set(label_values([{"label": str(atlas.labels)}])) - atlas.names.keys()):
        raise InputError(f"{atlas.labels}: holds the labels {nameless}, which {NAMES} beside it does not name.")
    return atlas


def package(output: Path, atlases: Sequence[Atlas]) -> None:
    """Write the zip, in which one folder holds all."""
    contents = {str(path.relative_to(ROOT)): path.read_bytes() for path in files()}
    contents[METADATA] = with_label_names(contents[METADATA], atlases)
    for atlas in atlases:
        for path in (atlas.image, atlas.labels, atlas.image.with_name(NAMES)):
            contents[f"atlas/{atlas.name}/{path.name}"] = path.read_bytes()
    with whole_file(output) as unfinished, ZipFile(unfinished, "w", ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(ZipInfo(f"{NAME}/{name}", TIME), content, ZIP_DEFLATED)


def files() -> Iterator[Path]:
    """The bundle's files."""
    for part in PARTS:
        for path in (ROOT / part).rglob("*") if (ROOT / part).is_dir() else [ROOT / part]:
            hidden = any(name.startswith((".", "__pycache__")) for name in path.relative_to(ROOT).parts)
            if path.is_file() and not hidden and (path.parent.name != "models" or path.stem in ("model", "README")):
                yield path


def with_label_names(metadata: bytes, atlases: Sequence[Atlas]) -> bytes:
    """metadata.json with the names of the atlases' labels, which MONAI Label shows, as channels of the output.

    Raises:
        InputError: if atlases have the same name, or call a label differently.
    """
    names: dict[int, str] = {0: "background"}
    for atlas in atlases:
        if sum(other.name == atlas.name for other in atlases) > 1:
            raise InputError(f"{atlas.image.parent}: another atlas has the name {atlas.name}, too.")
        for label, name in atlas.names.items():
            if names.setdefault(label, name) != name:
                raise InputError(
                    f"{atlas.image.with_name(NAMES)}: label {label} is {name!r} there and {names[label]!r} in another "
                    "atlas; a client shows one name for both."
                )
    content = json.loads(metadata)
    content["network_data_format"]["outputs"]["pred"]["channel_def"] = {
        str(label): name for label, name in sorted(names.items())
    }
    return (json.dumps(content, indent=2) + "\n").encode()


if __name__ == "__main__":
    sys.exit(main())
