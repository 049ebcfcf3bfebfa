"""A study survives kills, full and read-only disks, and second processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from sacb_bundle.commands import main
from sacb_bundle.errors import InputError
from sacb_bundle.registration import outputs
from sacb_bundle.registration.outputs import OUTPUTS
from sacb_bundle.registration.result import Registration
from sacb_bundle.study import CaseDataset, CaseLoader, Cases
from tests.engine.workflows import ROOT
from tests.study.runs import RESULTS, SMALL, batch, contents, leftovers, rows_of

NUM_KILLS = 20


def started(*arguments: object, jobs: int = 0) -> multiprocessing.Process:
    """Start a process that runs `sacb batch`."""

    def run() -> None:
        # The threads of the parent do not exist in the fork.
        torch.set_num_threads(1)
        os._exit(batch(*arguments, jobs=jobs))  # type: ignore[arg-type]

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_it_ends_the_same(
    table: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = started(tmp_path / "whole", model, "--pairs", table)
    start = time.perf_counter()
    whole.join()
    duration = time.perf_counter() - start
    assert whole.exitcode == 0
    undisturbed = contents(tmp_path / "whole")
    moments = random.Random(0)
    out = tmp_path / "out"
    for kill in range(NUM_KILLS):
        if kill % 5 == 0:
            shutil.rmtree(out, ignore_errors=True)
        process = started(out, model, "--pairs", table, "--resume", jobs=kill % 2)
        process.join(moments.uniform(0, duration))
        process.kill()
        process.join()
        # A file with its final name is complete at every moment.
        for case in out.glob("case *"):
            for path in case.glob("*.nii.gz"):
                assert path.read_bytes() == undisturbed[f"{case.name}/{path.name}"]
            assert (case / "case.json").is_file()
        if kill % 5 == 4:
            resumed = started(out, model, "--pairs", table, "--resume")
            resumed.join()
            assert resumed.exitcode == 0
            assert contents(out) == undisturbed
            assert not leftovers(out)
            assert {row["status"] for row in rows_of(out).values()} == {"done"}


class KillsItsProcess:
    """A transform that kills its process at the second case."""

    def __init__(self, times: Path, deaths: int) -> None:
        self.times = times
        self.deaths = deaths

    def __call__(self, pair: dict) -> dict:
        died = self.times.read_text() if self.times.exists() else ""
        if pair["id"] == "b" and len(died) < self.deaths:
            self.times.write_text(died + "x")
            os.kill(os.getpid(), signal.SIGKILL)
        return {"id": pair["id"]}


@pytest.mark.parametrize(("deaths", "failed"), [(1, []), (2, ["b"])])
def test_a_killed_loading_process_takes_at_most_its_case(
    deaths: int, failed: list[str], study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sacb_bundle.study.loading.RETRY_SECONDS", 0.0)
    image = str(study / "images" / "fixed_0.nii.gz")
    pairs = [{"id": name, "fixed": image, "moving": image} for name in "abcd"]
    loader = CaseLoader(CaseDataset(pairs, KillsItsProcess(tmp_path / "times", deaths)), num_workers=1)
    batches = list(loader)
    assert [batch["id"][0] for batch in batches] == ["a", "b", "c", "d"]
    errors = {batch["id"][0]: batch["error"][0] for batch in batches if "error" in batch}
    assert list(errors) == failed
    assert all("was killed; out of memory?" in error for error in errors.values())


class Hangs:
    """A transform that hangs at one case, as on a network drive that does not respond."""

    def __call__(self, pair: dict) -> dict:
        if pair["id"] == "b":
            time.sleep(600)
        return {"id": pair["id"]}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_case_that_hangs_is_one_that_failed(workers: int, study: Path) -> None:
    image = str(study / "images" / "fixed_0.nii.gz")
    pairs = [{"id": name, "fixed": image, "moving": image} for name in "abcd"]
    loader = CaseLoader(CaseDataset(pairs, Hangs()), num_workers=workers, read_timeout=0.5)
    before = multiprocessing.active_children()
    batches = list(loader)
    assert [batch["id"][0] for batch in batches] == ["a", "b", "c", "d"]
    errors = {batch["id"][0]: batch["error"][0] for batch in batches if "error" in batch}
    assert errors == {"b": "The worker that loaded it took longer than 0.5 s, see read_timeout."}
    wait_for(lambda: multiprocessing.active_children() == before)


@pytest.mark.parametrize("limit", ["x", -1, float("nan"), None])
def test_a_limit_that_is_none(limit: object, study: Path) -> None:
    with pytest.raises(InputError, match="read_timeout is "):
        CaseLoader(CaseDataset([], Hangs()), num_workers=1, read_timeout=limit)  # type: ignore[arg-type]


def test_a_process_killed_while_it_sends_is_replaced(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The half of a message that was sent stays in the pipe."""
    killed = tmp_path / "killed"
    send = Connection.send_bytes

    def send_half_the_first_time(connection: Connection, content: bytes) -> None:
        if pickle.loads(content)["id"] == "b" and not killed.exists():
            killed.touch()
            os.write(connection.fileno(), struct.pack("!i", len(content)) + content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        send(connection, content)

    monkeypatch.setattr(Connection, "send_bytes", send_half_the_first_time)  # also in the processes, which are forked
    monkeypatch.setattr("sacb_bundle.study.loading.RETRY_SECONDS", 0.0)
    image = str(study / "images" / "fixed_0.nii.gz")
    pairs = [{"id": name, "fixed": image, "moving": image} for name in "abcd"]
    batches = list(CaseLoader(CaseDataset(pairs, dict), num_workers=2))
    assert [batch["id"] for batch in batches] == [["a"], ["b"], ["c"], ["d"]]
    assert all(batch["fixed"] == [image] for batch in batches)
    assert killed.exists()


class KillsLate(KillsItsProcess):
    """The second case kills its process while the first takes longer than PyTorch's interval between checks."""

    def __call__(self, pair: dict) -> dict:
        if pair["id"] == "a":
            time.sleep(7)
        return super().__call__(pair)


@pytest.mark.slow
def test_the_case_that_is_waited_for_is_not_the_one_that_failed(study: Path, tmp_path: Path) -> None:
    image = str(study / "images" / "fixed_0.nii.gz")
    pairs = [{"id": name, "fixed": image, "moving": image} for name in "abcd"]
    batches = list(CaseLoader(CaseDataset(pairs, KillsLate(tmp_path / "times", 9)), num_workers=2))
    assert [batch["id"][0] for batch in batches if "error" in batch] == ["b"]


class Killed(BaseException):
    """Replaces a signal, at a chosen moment."""


@pytest.mark.slow
def test_killed_between_any_two_steps_of_replacing_a_case(
    table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registering again with fewer results leaves no earlier ones."""
    one = tmp_path / "one.csv"
    one.write_text("fixed,moving,id\nscans/fixed 0_images.nii.gz,scans/moving 0_images.nii.gz,case\n")
    with_labels = tmp_path / "with.csv"
    with_labels.write_text(
        "fixed,moving,moving_labels,id\n"
        "scans/fixed 0_images.nii.gz,scans/moving 0_images.nii.gz,scans/moving 0_labels.nii.gz,case\n"
    )
    assert batch(tmp_path / "whole", model, "--pairs", one) == 0
    names = sorted(path.name for path in (tmp_path / "whole" / "case").iterdir())
    out = tmp_path / "out"
    for step in range(1, 40):
        shutil.rmtree(out, ignore_errors=True)
        assert batch(out, model, "--pairs", with_labels, "--formats", "tfm") == 0
        (out / "case" / "note.txt").write_text("of the user" if step % 2 else "")
        if step % 2 == 0:
            (out / "case" / "note.txt").unlink()
        steps = iter(range(1, step + 1))
        with monkeypatch.context() as patch:
            for name in ("unlink", "replace", "rmdir", "rename"):
                patch.setattr(Path, name, killing(getattr(Path, name), steps))
            try:
                killed = False
                batch(out, model, "--pairs", one)
            except Killed:
                killed = True
        assert batch(out, model, "--pairs", one, "--resume") == 0
        assert contents(out) == contents(tmp_path / "whole")
        assert sorted(path.name for path in (out / "case").iterdir() if path.name != "note.txt") == names
        assert not leftovers(out)
        if not killed:
            return
    pytest.fail("the loop should have passed all steps")


def killing(operation: Callable, steps: Iterator[int]) -> Callable:
    """Make a file operation that raises `Killed` in a case's folder once the steps are used up."""

    def run(path: Path, *arguments: object, **options: object) -> object:
        if (path.parent.name == "case" or ".unfinished" in str(path)) and next(steps, None) is None:
            raise Killed
        return operation(path, *arguments, **options)

    return run


@pytest.mark.slow
def test_a_registration_beside_a_study_keeps_its_files(
    table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study starts while `sacb register` writes into a folder of its output."""
    out = tmp_path / "out"
    write = outputs.write_picture

    def meanwhile(result: Registration, path: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setitem(OUTPUTS, "picture", replace(OUTPUTS["picture"], write=write))
            assert batch(out, model, "--pairs", table) == 0
        write(result, path)

    monkeypatch.setitem(OUTPUTS, "picture", replace(OUTPUTS["picture"], write=meanwhile))
    scans = [f"--{role}={tmp_path / 'scans' / role} 0_images.nii.gz" for role in ("fixed", "moving")]
    assert main(["register", *scans, "--model", str(model), "--output", str(out / "single"), *SMALL]) == 0
    names = sorted(path.name for path in (out / "single").iterdir())
    assert names == [name for name in RESULTS if name != "warped_labels.nii.gz"]


def test_a_registration_into_a_folder_that_cannot_be_replaced(
    small_disk: Path, table: Path, model: Path, tmp_path: Path
) -> None:
    """The output is a mount, as in containers."""
    scans = [f"--{role}={tmp_path / 'scans' / role} 0_images.nii.gz" for role in ("fixed", "moving")]
    for _ in range(2):
        assert main(["register", *scans, "--model", str(model), "--output", str(small_disk), *SMALL]) == 0
        assert len(list(small_disk.iterdir())) == len(RESULTS) - 1


@pytest.mark.slow
def test_two_processes_do_not_write_one_study(
    table: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = started(out, model, "--pairs", table)
    wait_for(lambda: (out / "study.json").exists())
    os.kill(first.pid, signal.SIGSTOP)  # otherwise it may finish before the second starts
    assert batch(out, model, "--pairs", table) == 1
    assert f"error: {out}: another process is writing results there" in capfd.readouterr().err
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert batch(out, model, "--pairs", table) == 1
    assert "another process" in capfd.readouterr().err
    os.kill(first.pid, signal.SIGCONT)
    first.join()
    assert first.exitcode == 0
    assert {row["status"] for row in rows_of(out).values()} == {"done"}


def test_a_file_system_without_locks_is_refused(
    table: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    assert batch(tmp_path / "out", model, "--pairs", table) == 1
    assert f"error: {tmp_path / 'out'}: files cannot be locked there (No locks available)" in capfd.readouterr().err


def test_folders_of_other_processes_may_be_half_replaced(tmp_path: Path) -> None:
    cases = Cases(tmp_path, {})
    own, other = ({"id": name, "fixed": f"/{name}", "moving": "/m"} for name in ("own", "other"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "picture.jpg").write_bytes(b"")
    cases.check([own], others=[own, other])
    with pytest.raises(InputError, match="would replace this file"):
        cases.check([other])
    read = own | {"moving": str(tmp_path / "other" / "warped.nii.gz")}
    with pytest.raises(InputError, match="would overwrite this input"):
        cases.check([read], others=[own, other])


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    pair = {"id": "case", "fixed": os.fsdecode(b"/\xff.nii"), "moving": "/m.nii"}
    with pytest.raises(InputError, match=r"'/\\udcff\.nii': this name is not UTF-8"):
        Cases(tmp_path, {}).check([pair])


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with space for the results of two of the four cases, but not of three."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(("formats", "size"), [((), "1m"), (("--formats", "h5"), "3m"), (("--formats", "tfm"), "5m")])
def test_a_full_disk_ends_the_study_and_what_is_there_is_whole(
    formats: tuple[str, ...],
    size: str,
    small_disk: Path,
    table: Path,
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    whole = tmp_path / "whole"
    assert batch(whole, model, "--pairs", table, *formats) == 0
    undisturbed = contents(whole)
    subprocess.run(["mount", "-o", f"remount,size={size}", small_disk], check=True)
    assert batch(small_disk / "out", model, "--pairs", table, *formats) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert "no more results can be written" in error
    assert re.search(r"out/case \d\d/[\w.]+: cannot be written: No space left on device\.", error)
    assert "--resume" in error
    written = contents(small_disk / "out")
    assert 0 < len(written) < len(undisturbed)
    assert written.items() <= undisturbed.items()
    assert not leftovers(small_disk / "out")
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    assert batch(small_disk / "out", model, "--pairs", table, *formats, "--resume") == 0
    assert contents(small_disk / "out") == undisturbed


def test_a_read_only_folder_is_refused_before_work_starts(
    small_disk: Path, table: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "out").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert batch(small_disk / "out", model, "--pairs", table) == 1
    assert "disk/out is not a writable folder." in capfd.readouterr().err


@pytest.mark.slow
def test_torchrun_ends_with_one_report_though_a_case_fails(table: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "scans" / "moving 1_images.nii.gz").write_bytes(b"broken")
    program = "import torch; torch.set_num_threads(1); from sacb_bundle.commands import main; raise SystemExit(main())"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    options = ["batch", "--pairs", table, "--output", tmp_path / "out", "--model", model, "--jobs", "0", *SMALL]
    command = [*launcher, sys.executable, "-c", program, *map(str, options)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT)
    assert result.returncode == 1
    assert result.stderr.count("error: 2 of 2 cases failed") == 1
    assert [row["status"] for row in rows_of(tmp_path / "out").values()] == ["done", "failed", "done", "failed"]
    assert (tmp_path / "out" / "report.html").is_file()
    assert result.stdout.count("pairs     2;") == 1
