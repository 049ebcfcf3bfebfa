"""Run the hooks that `pre-commit install` sets up, in a separate repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ".pre-commit-config.yaml"


def run(*command: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    author = {f"GIT_{role}_{key}": "nobody" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    # Ignore the settings of the user, and of the repository if one of its hooks started the tests.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | author
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "PRE_COMMIT_HOME": str(cwd.parent / "pre-commit")}
    return subprocess.run(command, cwd=cwd, env=environment, check=check, capture_output=True, text=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with the hooks, and without Python files for the linters."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path_factory.mktemp("hooks") / "repository"
    folder.mkdir()
    shutil.copy(ROOT / CONFIG, folder)
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", CONFIG, cwd=folder)
    run(sys.executable, "-m", "pre_commit", "install", cwd=folder)
    return folder


def test_both_hooks_are_installed(repository: Path) -> None:
    hooks = repository / ".git" / "hooks"
    assert {path.name for path in hooks.iterdir() if not path.suffix} == {"commit-msg", "pre-commit"}


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        pytest.param("x" * 72, True, id="72"),
        pytest.param("x" * 73, False, id="73"),
        pytest.param("ü" * 72, True, id="72 of two bytes"),
        pytest.param("ü" * 73, False, id="73 of two bytes"),
        pytest.param(f"Say it\n\n{'x' * 100}", True, id="long line in the body"),
        pytest.param(f"\n{'x' * 73}\n", False, id="73 after an empty line"),
        pytest.param(f"{'x' * 72}\n# {'y' * 100}\n", True, id="72 before a comment"),
        pytest.param(f"# {'y' * 100}\n\n{'x' * 72}\n", True, id="72 after a comment"),
        pytest.param(f"# {'y' * 100}\n\n{'x' * 73}\n", False, id="73 after a comment"),
    ],
)
def test_a_subject_has_at_most_72_characters(message: str, accepted: bool, repository: Path) -> None:
    (repository / "message").write_text(message, encoding="utf-8")
    stage = ("--hook-stage", "commit-msg", "--commit-msg-filename", "message")
    done = run(sys.executable, "-m", "pre_commit", "run", *stage, cwd=repository, check=False)
    assert (done.returncode == 0) is accepted, done.stdout
    assert "72 characters" in done.stdout


def test_git_refuses_a_commit_with_a_long_subject(repository: Path) -> None:
    assert run("git", "commit", "--allow-empty", "-m", "x" * 73, cwd=repository, check=False).returncode != 0
    run("git", "commit", "--allow-empty", "-m", "x" * 72, cwd=repository)
    assert run("git", "log", "--format=%s", cwd=repository).stdout.split() == ["x" * 72]


def test_no_link_is_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository")
    files = run("git", "ls-files", "--stage", cwd=ROOT).stdout.splitlines()
    assert files
    assert [line for line in files if line.startswith("120000")] == []
