"""HTML pages of results, in one look."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from ..files import whole_file


def write_page(path: Path, package: str, name: str, values: Mapping[str, Any]) -> None:
    """Write a page from a template, with the values escaped.

    Args:
        path: path of the page.
        package: package that holds the template.
        name: name of the template, which may extend page.html of this package.
        values: values of the template.

    Raises:
        InputError: if the page cannot be written.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader(__package__, ".")]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with whole_file(path) as unfinished:
        # Stream the page, so that memory does not grow with the pictures.
        environment.get_template(name).stream(**values).dump(str(unfinished), encoding="utf-8")


def data_url(content: bytes, kind: str) -> str:
    """Return content as a URL that holds it.

    Args:
        content: content of a file.
        kind: its type, such as "image/png".

    Returns:
        The data URL.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
