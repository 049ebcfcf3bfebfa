"""Methods that `sacb compare` knows by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..errors import InputError
from ..registration.refine import DEFAULT_STEPS

# End of the name of a trained network that is refined for each pair.
REFINED = "+refine"


@dataclass(frozen=True)
class Method:
    """A way to register pairs.

    Attributes:
        trained: description of the network to train, see `sacb_bundle.networks.WeightsInfo`; empty for the network of
            the config; None for a method without weights.
        untrained: class of the network of a method without weights.
        initial: alignment before it; "" for that of the config.
        refine: number of steps that refine each pair.
        package: package that it needs, as pip names it; "" for none.
        module: module of that package.
    """

    trained: Mapping[str, Any] | None = None
    untrained: str = ""
    initial: str = ""
    refine: int = 0
    package: str = ""
    module: str = ""

    @property
    def obstacle(self) -> str:
        """Why the package that the method needs cannot be used; "" if it can."""
        if not self.module:
            return ""
        if find_spec(self.module) is None:
            return f"it needs {self.package}; pip install {self.package}"
        try:
            import_module(self.module)
        except Exception as error:  # whatever the package raises
            return f"{self.package} is installed, but its import fails: {error}"
        return ""


ZERO_FIELD = "sacb_bundle.experiments.ZeroField"

# Add yours: METHODS["my-net"] = Method(trained={"name": "MyNet"}), with the network in `sacb_bundle.networks.NETWORKS`.
METHODS = {
    "none": Method(untrained=ZERO_FIELD, initial="none"),
    "affine": Method(untrained=ZERO_FIELD, initial="affine"),
    "syn": Method(untrained="sacb_bundle.experiments.SyN", package="antspyx", module="ants"),
    "voxelmorph-1": Method(trained={"name": "VoxelMorph", "variant": 1}),
    "voxelmorph-2": Method(trained={"name": "VoxelMorph", "variant": 2}),
    "lku-net": Method(trained={"name": "LKUNet"}),
    "fourier-net": Method(trained={"name": "FourierNet"}),
    "lapirn": Method(trained={"name": "LapIRN"}),
    "modet": Method(trained={"name": "ModeT"}),
    "im2grid": Method(trained={"name": "Im2Grid"}),
    "sacb-net": Method(trained={}),
}


def methods_of(names: Sequence[str]) -> dict[str, Method]:
    """Return methods by their names.

    Args:
        names: names of `METHODS`; that of a trained network may end in "+refine".

    Returns:
        The methods, in this order.

    Raises:
        InputError: if there is no name, or a method is unknown; lists the known ones.
    """
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"methods is {names!r}; it must be a list of at least one of {', '.join(METHODS)}.")
    methods = {}
    for name in names:
        method = METHODS.get(base_name(name))
        if method is None or (name != base_name(name) and method.trained is None):
            raise InputError(
                f"There is no method {name!r}; the methods are {', '.join(METHODS)}, and a trained network with "
                f"{REFINED} after its name, such as sacb-net{REFINED}."
            )
        methods[name] = method if name == base_name(name) else replace(method, refine=DEFAULT_STEPS)
    return methods


def base_name(name: str) -> str:
    """Return the name of a method without its refinement.

    Args:
        name: name, such as "sacb-net+refine".

    Returns:
        The name of the method whose weights it uses, such as "sacb-net".
    """
    return name.removesuffix(REFINED)
