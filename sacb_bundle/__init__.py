"""SACB-Net: deformable registration of 3D medical images with spatial-awareness convolutions.

Example:
    >>> import sacb_bundle as sacb
    >>> registrar = sacb.Registrar(device="cpu", initial="none")
    >>> fixed, moving = sacb.phantom_images((32, 32, 32))
    >>> registrar(fixed, moving).warped.grid.shape
    (32, 32, 32)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.phantom import phantom_images
    from .errors import InputError
    from .registration.register import Registrar
    from .registration.result import Registration
    from .spatial import Grid, Transform, Volume

__version__ = "0.1.0"

# Imported on access, since importing PyTorch alone takes two seconds.
PLACES = {
    "Grid": ".spatial",
    "InputError": ".errors",
    "Registrar": ".registration.register",
    "Registration": ".registration.result",
    "Transform": ".spatial",
    "Volume": ".spatial",
    "phantom_images": ".data.phantom",
}

__all__ = ["Grid", "InputError", "Registrar", "Registration", "Transform", "Volume", "phantom_images"]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PLACES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PLACES})
