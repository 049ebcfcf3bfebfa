"""The folder of a prepared data set, with a record that lets a stopped preparation continue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..data.dataset_folder import FOLDERS as MAPS
from ..errors import InputError
from ..files import make_folder, read_json, remove_unfinished_files, write_json
from ..results.result_folder import lock
from ..spatial import Volume, write_volume

RECORD, DESCRIPTION, TEMPLATE = "prepared.json", "dataset.json", "template.nii.gz"
FOLDERS = {"image": "images"} | MAPS
# Hidden file that is locked while a process prepares into the folder.
_LOCK = ".preparing.lock"
# Longest text of two settings in a message.
_LONGEST = 200


class PreparedFolder:
    """Folder with images/, labels/, masks/, dataset.json and the record prepared.json.

    Args:
        path: path of the folder.
        settings: all that the files depend on besides their sources, in types that JSON can hold.

    Raises:
        InputError: if it holds anything else, or was prepared with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        settings = json.loads(json.dumps(settings))  # with lists for tuples, as in the record
        self.record: dict[str, Any] = {"settings": settings, "subjects": {}}
        if (path / RECORD).is_file():
            earlier = read_json(path / RECORD)
            if not _is_record(earlier):
                raise InputError(f"{path / RECORD}: is no record of a preparation; choose another folder.")
            _check_settings(earlier["settings"], settings, path)
            self.record = earlier
        elif path.is_dir() and any(not name.name.startswith(".") for name in path.iterdir()):
            raise InputError(f"{path}: holds files, but no {RECORD}; prepare into a folder of its own.")

    @contextmanager
    def writing(self, description: Mapping[str, Any]) -> Iterator[None]:
        """Lock the folder in the block of a `with` statement, after writing what comes before the subjects.

        dataset.json names all subjects, so training refuses the folder until it is complete.

        Args:
            description: content of dataset.json.

        Yields:
            None; the block adds subjects.

        Raises:
            InputError: if the folder cannot be written to, or another process prepares into it.
        """
        make_folder(self.path)
        taken = lock(self.path / _LOCK)
        try:
            for folder in (self.path, *(self.path / name for name in FOLDERS.values())):
                if folder.is_dir():
                    remove_unfinished_files(folder)
            write_json(self.record, self.path / RECORD)
            write_json(dict(description), self.path / DESCRIPTION)
            yield
        finally:
            taken.release()

    def file(self, name: str, key: str) -> Path:
        """Return the path of a file of a subject.

        Args:
            name: name of the subject.
            key: "image", "label" or "mask".

        Returns:
            The path.
        """
        return self.path / FOLDERS[key] / f"{name}.nii.gz"

    def holds(self, name: str, sources: Mapping[str, str], keys: Mapping[str, Any]) -> bool:
        """Return whether a subject is complete.

        Args:
            name: name of the subject.
            sources: hash of each of its source files, by name.
            keys: "image", and "label" and "mask" if it has them.

        Returns:
            True if its files are there.

        Raises:
            InputError: if it was prepared from other files.
        """
        facts = self.record["subjects"].get(name)
        if facts is None:
            return False
        if facts.get("sources") != sources:
            files = ", ".join(dict.fromkeys([*facts.get("sources", {}), *sources]))
            raise InputError(
                f"{self.path}: {name} was prepared from {files}, which are not what they were; put them back, or "
                "choose another folder."
            )
        return all(self.file(name, key).is_file() for key in keys)

    def holds_template(self, sources: Mapping[str, Mapping[str, str]]) -> bool:
        """Return whether the template is there.

        Args:
            sources: hash of each source file, by name, of each subject that the template is made of.

        Returns:
            True if it is there, made from these files.

        Raises:
            InputError: if subjects were prepared with a template of other files.
        """
        same = self.record.get("template") == sources
        if not same and self.record["subjects"]:
            raise InputError(f"{self.path}: {TEMPLATE} was made from other subjects; choose another folder.")
        return same and (self.path / TEMPLATE).is_file()

    def add_template(self, image: Volume, sources: Mapping[str, Mapping[str, str]]) -> None:
        """Write the template, and record it once its file is whole.

        Args:
            image: the template.
            sources: as in `holds_template`.

        Raises:
            InputError: if the file cannot be written.
        """
        write_volume(image, self.path / TEMPLATE)
        self.record["template"] = dict(sources)
        write_json(self.record, self.path / RECORD)

    def add(self, name: str, volumes: Mapping[str, Volume], facts: Mapping[str, Any]) -> None:
        """Write a subject, and record it once its files are whole.

        Args:
            name: name of the subject.
            volumes: "image", and "label" and "mask" if it has them.
            facts: facts for the record, with "sources".

        Raises:
            InputError: if a file cannot be written.
        """
        # The image comes last: training takes a subject by its image.
        for key in sorted(volumes, key=lambda key: key == "image"):
            write_volume(volumes[key], self.file(name, key))
        self.record["subjects"][name] = dict(facts)
        write_json(self.record, self.path / RECORD)


def _is_record(content: object) -> bool:
    """Return whether the content of a JSON file has the form of a record."""
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        return False
    subjects = content.get("subjects")
    return isinstance(subjects, dict) and all(isinstance(facts, dict) for facts in subjects.values())


def _check_settings(earlier: Mapping[str, Any], settings: Mapping[str, Any], path: Path) -> None:
    """Raise an InputError if a folder was prepared with other settings; names one of them."""
    for key in dict.fromkeys([*settings, *earlier]):
        before, now = (json.dumps(values.get(key)) for values in (earlier, settings))
        if before != now:
            others = f"another {key}" if len(before + now) > _LONGEST else f"{key} {before}, not {now}"
            raise InputError(f"{path}: was prepared with {others}; choose another folder.")
