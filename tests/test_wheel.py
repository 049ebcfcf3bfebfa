"""The contents of the wheel and the sdist, and an installed wheel run from any folder and by any user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pytest

from sacb_bundle import __version__, phantom_images
from sacb_bundle.files import bundle_root
from sacb_bundle.spatial import write_volume
from tests.conftest import write

ROOT = Path(__file__).resolve().parents[1]
DIST_INFO = f"sacb_bundle-{__version__}.dist-info"
BUNDLE = (
    "LICENSE",
    "atlas/phantom/image.nii.gz",
    "atlas/phantom/labels.json",
    "atlas/phantom/labels.nii.gz",
    "configs/*.json",
    "configs/datasets/*.json",
    "configs/logging.conf",
    "configs/networks/*.json",
    "docs/data_license.txt",
    "models/README.md",
    "models/model.json",
    "models/model.pt",
    *(f"models/specialists/{name}.{ending}" for name in ("abdomen_ct", "brain_t1") for ending in ("json", "pt")),
)
NOBODY = 65534
INSTALLER = "who installed it"


def python(*arguments: str | Path, cwd: Path | None = None) -> None:
    # All users can read an installation, whatever the umask during the tests.
    subprocess.run([sys.executable, *arguments], cwd=cwd, check=True, umask=0o022)


def pip(*arguments: str | Path) -> None:
    """Run pip without network access."""
    command, *rest = arguments
    python("-m", "pip", "--quiet", "--disable-pip-version-check", command, "--no-index", "--no-cache-dir", *rest)


def built_wheel(source: Path, folder: Path) -> Path:
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    python("-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)
    return folder / f"sacb_bundle-{__version__}"


def test_the_wheel_holds_the_package_and_the_bundle(wheel: Path) -> None:
    files = [path for path in (ROOT / "sacb_bundle").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    package = {str(path.relative_to(ROOT)) for path in files}
    bundle = {f"sacb_bundle/_bundle/{path.relative_to(ROOT)}" for part in BUNDLE for path in ROOT.glob(part)}
    assert len(bundle) >= len(BUNDLE)
    held = contents(wheel)
    assert {name for name in held if not name.startswith(DIST_INFO)} == package | bundle
    assert held["sacb_bundle/_bundle/models/model.pt"] == (ROOT / "models" / "model.pt").read_bytes()
    assert f"\nVersion: {__version__}\n".encode() in held[f"{DIST_INFO}/METADATA"]


def test_the_sdist_holds_what_tests_and_documents_need(unpacked_sdist: Path) -> None:
    for folder in ("atlas/phantom", "configs", "docs", "sacb_bundle", "scripts", "tests"):
        kept = {path.name for path in (ROOT / folder).rglob("*.*") if path.is_file() and path.suffix != ".pyc"}
        assert {path.name for path in (unpacked_sdist / folder).rglob("*.*") if path.is_file()} == kept
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md", "constraints.txt", "pyproject.toml"):
        assert (unpacked_sdist / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_wheel_of_the_sdist_is_the_same_and_without_the_users_own_files(
    wheel: Path, unpacked_sdist: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(unpacked_sdist, tmp_path / "source")
    for name in (
        "atlas/mine/image.nii.gz",
        "atlas/mine/labels.json",
        "configs/monailabel_train.json",
        "configs/scan.nii.gz",
        "models/model.ts",
        "models/other.pt",
        "sacb_bundle/scan.nii",
    ):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("private")
    assert contents(built_wheel(source, tmp_path)) == contents(wheel)


def test_an_editable_installation_uses_the_checkout(tmp_path: Path) -> None:
    program = f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"
    python("-c", program, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    held = contents(wheel)
    assert held["_sacb_bundle.pth"].decode().strip() == str(ROOT)
    # Without __init__.py, Python continues the search to the checkout.
    assert [name for name in held if name.startswith("sacb_bundle/")] == ["sacb_bundle/_bundle/LICENSE"]
    assert bundle_root() == ROOT


def other_user() -> list[str]:
    """Return a prefix that runs a command as a user without write access here."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to become another user")
    plain = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # If root's Python is in a folder closed to others, grant the capability to read all files.
    for command in (plain, [*plain, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]):
        if subprocess.run([*command, sys.executable, "-c", "import numpy"], capture_output=True).returncode == 0:
            return command
    pytest.skip("another user cannot run this Python")


class User:
    """A user who runs the installed package in a folder of their own."""

    def __init__(self, site: Path, folder: Path, prefix: list[str]) -> None:
        self.site = site
        self.folder = folder
        self.prefix = prefix

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Run a command, and return its output."""
        environment = os.environ | {"PYTHONPATH": str(self.site), "HOME": str(self.folder / "home")}
        done = subprocess.run(
            [*self.prefix, *command], cwd=cwd or self.folder, env=environment, capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sacb(self, *arguments: str | Path) -> str:
        return self.run(self.site / "bin" / "sacb", *arguments)

    def bundle(self, run_id: str, config: str, *arguments: str | Path, cwd: Path | None = None) -> None:
        command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", config]
        self.run(*command, "--device", "cpu", "--initial", "none", *arguments, cwd=cwd)


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def site(wheel: Path) -> Iterator[Path]:
    """Install the wheel into a folder that is read-only for all but root, and check that it does not change."""
    # Other users cannot read pytest's folder.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        site = Path(folder) / "site"
        pip("install", "--no-deps", "--target", site, wheel)
        for path in [*site.rglob("*"), site]:
            assert path.stat().st_mode & 0o004
            path.chmod(path.stat().st_mode & ~0o222)
        before = snapshot(site)
        yield site
        assert snapshot(site) == before


@pytest.fixture
def user(request: pytest.FixtureRequest, site: Path) -> Iterator[User]:
    """The installer or another user, by the parameter; by default another user if root runs the tests."""
    installed_it = getattr(request, "param", "another user" if os.getuid() == 0 else INSTALLER) == INSTALLER
    prefix = [] if installed_it else other_user()
    with TemporaryDirectory() as folder:
        (Path(folder) / "home").mkdir()
        yield User(site, Path(folder), prefix)


def give(user: User) -> None:
    """Change the owner of everything in a user's folder to the user."""
    if user.prefix:
        for path in [user.folder, *user.folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)


REGISTER = """
import sacb_bundle as sacb
registrar = sacb.Registrar(device="cpu", initial="none")
registrar("fixed.nii.gz", "moving.nii.gz").save("by api")
print(sacb.__file__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("user", [INSTALLER, "another user"], indirect=True)
def test_registers_from_any_folder(user: User) -> None:
    for name, volume in zip(("fixed", "moving"), phantom_images((32, 32, 32)), strict=True):
        write_volume(volume, user.folder / f"{name}.nii.gz")
    give(user)
    assert Path(user.sacb("bundle").strip()) == user.site / "sacb_bundle" / "_bundle"
    pair = ("--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", "--initial", "none", "--device", "cpu")
    user.sacb("register", *pair, "--output", "by command")
    assert Path(user.run(sys.executable, "-c", REGISTER).strip()) == user.site / "sacb_bundle" / "__init__.py"
    warped = [np.asarray(nib.load(user.folder / way / "warped.nii.gz").dataobj) for way in ("by command", "by api")]
    assert warped[0].any()
    assert np.array_equal(*warped)
    made = {path.name for path in user.folder.iterdir()}
    assert made == {"home", "fixed.nii.gz", "moving.nii.gz", "by command", "by api"}


@pytest.mark.slow
def test_runs_as_a_bundle_from_any_folder(user: User, study: Path) -> None:
    for path in study.glob("*/*_0.nii.gz"):
        write(user.folder / "data" / path.parent.name / path.name, np.asarray(nib.load(path).dataobj))
    give(user)
    bundle = Path(user.sacb("bundle").strip())
    training = ("--max_epochs", "1", "--pairs_per_epoch", "1", "--network_def#base_channels", "2")
    user.bundle("training", f"{bundle}/configs/train.json", "--dataset_dir", "data", *training)
    assert (user.folder / "runs" / "model.pt").is_file()
    pairs = ("--dataset_dir", "data", "--jobs", "0")
    user.bundle("inference", f"{bundle}/configs/inference.json", *pairs, "--output_dir", "study")
    assert (user.folder / "study" / "report.html").is_file()
    user.bundle("evaluating", f"{bundle}/configs/evaluate.json", *pairs)
    pairs = ("--dataset_dir", str(user.folder / "data"), "--jobs", "0")
    user.bundle("evaluating", "configs/evaluate.json", *pairs, "--output_dir", user.folder / "again", cwd=bundle)
    scores = [(user.folder / name / "metrics.csv").read_text() for name in ("eval", "again")]
    assert len(set(scores)) == 1
    assert {path.name for path in user.folder.iterdir()} == {"home", "data", "runs", "study", "eval", "again"}
