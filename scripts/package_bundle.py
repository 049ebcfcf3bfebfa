"""Pack the bundle into a zip, with atlases whose labels MONAI Label transfers to scans, and their label names."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from sacb_bundle.data import Atlas, atlas_names, check_scan_grids, label_values, read_atlas
from sacb_bundle.data.atlases import IMAGE, LABELS, NAMES
from sacb_bundle.errors import InputError
from sacb_bundle.files import check_results, real_path, whole_file
from sacb_bundle.spatial import read_image

ROOT = Path(__file__).resolve().parent.parent
NAME = "sacb_net_registration"
PARTS = (
    "LICENSE",
    "configs/*.json",
    "configs/logging.conf",
    "configs/datasets/*.json",
    "configs/networks/*.json",
    "docs/**/*.jpg",
    "docs/**/*.md",
    "docs/**/*.png",
    "docs/**/*.txt",
    "models/README.md",
    "models/model.json",
    "models/model.pt",
    *(f"models/specialists/{name}.{ending}" for name in ("abdomen_ct", "brain_t1") for ending in ("json", "pt")),
    "models/model.ts",
    "sacb_bundle/**/*.py",
    "sacb_bundle/**/*.html",
)
# Written by MONAI Label in training, with the names of the user's scans.
LEFT_OUT = "configs/monailabel_train.json"
METADATA, TRAINING = "configs/metadata.json", "configs/train.json"
# Earliest time that a zip can hold, used for every file, so that the same files give the same bytes.
TIME = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    """Pack the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "dist" / f"{NAME}.zip", help="path of the zip (default: %(default)s)"
    )
    parser.add_argument(
        "--atlas",
        type=Path,
        nargs="+",
        metavar="DIR",
        help=f"folders of atlases, with {IMAGE}, {LABELS} and {NAMES} (default: those of the bundle)",
    )
    options = parser.parse_args()
    try:
        folders = options.atlas or [ROOT / "atlas" / name for name in atlas_names(ROOT / "atlas")]
        package(options.output, [checked_atlas(folder) for folder in folders])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(options.output)
    return 0


def checked_atlas(folder: Path) -> Atlas:
    """Read and check the atlas in a folder.

    Raises:
        InputError: if it is incomplete, holds no labels, or a label has no name.
    """
    atlas = read_atlas(real_path(folder))
    read_image(atlas.image)
    check_scan_grids({"fixed": str(atlas.image), "moving": str(atlas.image), "moving_labels": str(atlas.labels)}, {})
    values = set(label_values([{"label": str(atlas.labels)}]))
    if not values:
        raise InputError(f"{atlas.labels}: holds no label.")
    if nameless := sorted(values - atlas.names.keys()):
        some = ", ".join(map(str, nameless[:10])) + (", ..." if len(nameless) > 10 else "")
        raise InputError(f"{atlas.labels}: {len(nameless)} of its labels have no name in {NAMES}: {some}.")
    return atlas


def package(output: Path, atlases: Sequence[Atlas]) -> None:
    """Write the zip, with all files in one folder.

    Raises:
        InputError: if it would overwrite one of its files, or atlases conflict, see `with_label_names`.
    """
    sources = {str(path.relative_to(ROOT)): path for path in files()}
    for atlas in atlases:
        for path in (atlas.image, atlas.labels, atlas.image.with_name(NAMES)):
            sources[f"atlas/{atlas.name}/{path.name}"] = path
    check_results([output], sources.values())
    contents = {name: path.read_bytes() for name, path in sources.items()}
    contents[METADATA] = with_label_names(contents[METADATA], atlases)
    contents[TRAINING] = publishing(contents[TRAINING])
    with whole_file(output) as unfinished, ZipFile(unfinished, "w", ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(ZipInfo(f"{NAME}/{name}", TIME), content, ZIP_DEFLATED)


def files() -> Iterator[Path]:
    """Yield the bundle's files."""
    for part in PARTS:
        yield from (path for path in ROOT.glob(part) if path.is_file() and path != ROOT / LEFT_OUT)


def publishing(training: bytes) -> bytes:
    """Return train.json changed to write its weights over those of the bundle, which MONAI Label reads."""
    places = {"output_dir": "$@bundle_root + '/runs'", "ckpt_dir": "$@bundle_root + '/models'", "replace": True}
    content = json.loads(training) | places
    return (json.dumps(content, indent=2) + "\n").encode()


def with_label_names(metadata: bytes, atlases: Sequence[Atlas]) -> bytes:
    """Return metadata.json with the atlases' label names, which MONAI Label shows, as channels of the output.

    Raises:
        InputError: if two atlases have the same name, or different names for a label value.
    """
    names: dict[int, str] = {0: "background"}
    for atlas in atlases:
        if sum(other.name == atlas.name for other in atlases) > 1:
            raise InputError(f"{atlas.image.parent}: another atlas is also named {atlas.name}; rename one of them.")
        for label, name in atlas.names.items():
            if names.setdefault(label, name) != name:
                raise InputError(
                    f"{atlas.image.with_name(NAMES)}: label {label} is {name!r} here and {names[label]!r} in another "
                    "atlas; clients show one name for both."
                )
    content = json.loads(metadata)
    content["network_data_format"]["outputs"]["pred"]["channel_def"] = {
        str(label): name for label, name in sorted(names.items())
    }
    return (json.dumps(content, indent=2) + "\n").encode()


if __name__ == "__main__":
    sys.exit(main())
