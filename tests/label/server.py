"""A real MONAI Label server with the packaged bundle."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
NAME = "sacb_net_registration"
START_SECONDS, TASK_SECONDS = 180, 300


class Server:
    """A running server.

    Attributes:
        url: address of the server.
        bundle: folder of the bundle in the server's app.
        studies: folder of the scans.
        log: file with the server's output.
    """

    def __init__(self, port: int, bundle: Path, studies: Path, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.bundle = bundle
        self.studies = studies
        self.log = log

    def infer(self, image: str, **parameters: object) -> requests.Response:
        """Request the label map of a scan from the REST interface."""
        query = {"image": image, "output": "image"}
        return requests.post(f"{self.url}/infer/{NAME}", params=query, files={"params": (None, json.dumps(parameters))})

    def label_map(self, image: str, path: Path, **parameters: object) -> Path:
        """Save the label map of a scan to a file."""
        response = self.infer(image, **parameters)
        assert response.status_code == 200, response.text
        path.write_bytes(response.content)
        return path

    def answers(self) -> bool:
        """Return whether the server is up."""
        try:
            return requests.get(f"{self.url}/info/").status_code == 200
        except requests.ConnectionError:
            return False

    def run(self, task: str, **parameters: object) -> None:
        """Start a task ("train", "batch/infer"), and wait until it ends."""
        response = requests.post(f"{self.url}/{task}/{NAME}", json=parameters)
        assert response.status_code == 200, response.text
        ended = ("DONE", "ERROR")
        assert comes_true(lambda: self.status(task) in ended, TASK_SECONDS), f"{task} did not end"
        assert self.status(task) == "DONE", self.log.read_text()[-3000:]

    def status(self, task: str) -> str:
        """Return the status of the last task."""
        status: str = requests.get(f"{self.url}/{task}/").json()["status"]
        return status


@contextmanager
def running_server(folder: Path, studies: Path, atlases: Sequence[Path] = ()) -> Iterator[Server]:
    """Package the bundle, and start a server with it, as in docs/monai_label.md.

    Args:
        folder: parent of the app's folder.
        studies: folder of the scans.
        atlases: folders of atlases that replace the shipped one.
    """
    folder.mkdir(exist_ok=True)
    package = folder / "bundle.zip"
    options = ["--atlas", *map(str, atlases)] if atlases else []
    subprocess.run([sys.executable, ROOT / "scripts" / "package_bundle.py", "--output", package, *options], check=True)
    installed = importlib.util.find_spec("monailabel")
    assert installed is not None
    assert installed.origin is not None
    places = [Path(installed.origin).parent, Path(sys.prefix) / "monailabel"]
    (sample,) = {app for place in places if (app := place / "sample-apps" / "monaibundle").is_dir()}
    shutil.copytree(sample, folder / "app")
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder / "app" / "model")
    port = free_port()
    log = folder / "server.log"
    command = [
        *(sys.executable, "-m", "monailabel.main", "start_server", "--app", folder / "app", "--studies", studies),
        *("--conf", "models", NAME, "--conf", "zoo_source", "local", "--conf", "sam2", "false"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "label" / "shim")}
    with open(log, "wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
    server = Server(port, folder / "app" / "model" / NAME, studies, log)
    try:
        assert comes_true(server.answers, START_SECONDS), log.read_text()[-3000:]
        yield server
    finally:
        process.terminate()
        process.wait()


def comes_true(condition: Callable[[], bool], seconds: int = 20) -> bool:
    """Return whether a condition is met within a time."""
    return any(condition() or time.sleep(1) for _ in range(seconds))


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
