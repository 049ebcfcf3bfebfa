"""The docstrings of the package: those of public functions describe all arguments, results and errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

import pytest

from tests.test_layers import FILES, PACKAGE

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Methods of `torch.autograd.Function`, whose contract PyTorch documents.
METHODS_OF_AUTOGRAD = {"forward", "backward", "setup_context"}
TITLE = re.compile(r"^(Args|Attributes|Example|Raises|Returns|Yields):$", re.MULTILINE)


def public_functions(body: Sequence[ast.stmt]) -> Iterator[tuple[str, Function]]:
    """Yield the public functions of a module and the public methods of its public classes, each with its name."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            of_autograd = any(ast.unparse(base).endswith("autograd.Function") for base in node.bases)
            for name, method in public_functions(node.body):
                if not (of_autograd and name in METHODS_OF_AUTOGRAD):
                    yield f"{node.name}.{name}", method
        elif isinstance(node, (ast.If, ast.Try)):
            yield from public_functions([*node.body, *node.orelse])


def nodes_of(function: Function) -> Iterator[ast.AST]:
    """Yield the nodes of the body of a function, but not those of functions and classes within it."""
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        node = nodes.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            nodes.extend(ast.iter_child_nodes(node))


def has_result(function: Function) -> bool:
    """Return whether a function returns or yields something: by its annotation, or without one, by its body."""
    if function.returns is not None:
        return ast.unparse(function.returns) not in ("None", "NoReturn")
    return any(
        isinstance(node, (ast.Yield, ast.YieldFrom)) or (isinstance(node, ast.Return) and node.value is not None)
        for node in nodes_of(function)
    )


def sections_of(docstring: str) -> dict[str, str]:
    """Return the text of each section of a docstring by its title."""
    _, *parts = TITLE.split(docstring)
    return {title: text for title, text in zip(parts[::2], parts[1::2], strict=True) if text.strip()}


def lacks_of(function: Function) -> list[str]:
    """Return what the docstring of a function lacks: sections, and arguments by their names."""
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    if any(decorator.split(".")[-1] == "overload" for decorator in decorators):
        return []
    is_property = any("property" in decorator for decorator in decorators)
    sections = sections_of(ast.get_docstring(function) or "")
    given = function.args
    starred = [argument for argument in (given.vararg, given.kwarg) if argument is not None]
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, *starred]
    lacks = [
        f"Args: {argument.arg}"
        for argument in arguments
        if argument.arg not in ("self", "cls")
        and not re.search(rf"^    {argument.arg}: \S", sections.get("Args", ""), re.MULTILINE)
    ]
    if has_result(function) and not is_property and not {"Returns", "Yields"} & sections.keys():
        lacks.append("Returns")
    if any(isinstance(node, ast.Raise) for node in nodes_of(function)) and "Raises" not in sections:
        lacks.append("Raises")
    return lacks


def lacks_in(source: str) -> dict[str, list[str]]:
    """Return what the docstrings of the public functions of a file lack, by the name of each that is incomplete."""
    return {name: lacks for name, function in public_functions(ast.parse(source).body) if (lacks := lacks_of(function))}


@pytest.mark.parametrize(
    ("source", "lacks"),
    [
        ("def f(a, *, b=1, **c): ...", {"f": ["Args: a", "Args: b", "Args: c"]}),
        ("def f(a, b):\n    '''F.\n\n    Args:\n        a: first.\n    '''", {"f": ["Args: b"]}),
        ("def f(a):\n    '''F.\n\n    Returns:\n        a: first.\n    '''", {"f": ["Args: a"]}),
        ("def f() -> int:\n    '''F.'''", {"f": ["Returns"]}),
        ("def f() -> int:\n    '''F.\n\n    Returns:\n    '''", {"f": ["Returns"]}),
        ("def f():\n    yield 1", {"f": ["Returns"]}),
        ("def f() -> None:\n    if True:\n        raise ValueError", {"f": ["Raises"]}),
        ("class A:\n    def f(self, a) -> None: ...", {"A.f": ["Args: a"]}),
        ("class A:\n    @property\n    def f(self) -> int:\n        raise ValueError", {"A.f": ["Raises"]}),
        ("class A(nn.Module):\n    def forward(self, x): ...", {"A.forward": ["Args: x"]}),
        ("if True:\n    def f(a): ...", {"f": ["Args: a"]}),
    ],
)
def test_everything_that_is_missing_is_seen(source: str, lacks: dict[str, list[str]]) -> None:
    assert lacks_in(source) == lacks


@pytest.mark.parametrize(
    "source",
    [
        "def f(a, **b):\n    '''F.\n\n    Args:\n        a: first.\n        b: second.\n    '''",
        "def f() -> int:\n    '''F.\n\n    Returns:\n        One.\n    '''",
        "def f():\n    '''F.\n\n    Yields:\n        One.\n    '''\n    yield 1",
        "def f() -> None:\n    def g():\n        raise ValueError\n    g()",
        "def _f(a): ...",
        "class _A:\n    def f(self, a): ...",
        "class A:\n    @property\n    def f(self) -> int: ...",
        "class A:\n    @overload\n    def f(self, a) -> int: ...",
        "class A(torch.autograd.Function):\n    def forward(ctx, x): return x",
    ],
)
def test_what_needs_no_section_passes(source: str) -> None:
    assert lacks_in(source) == {}


def test_public_functions_describe_arguments_results_and_errors() -> None:
    incomplete = {}
    for path in FILES:
        if lacks := lacks_in(path.read_text(encoding="utf-8")):
            incomplete[path.relative_to(PACKAGE).as_posix()] = lacks
    assert incomplete == {}
