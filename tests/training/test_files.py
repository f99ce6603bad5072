"""A file is written whole or not at all; data and records are found in one order."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rotvq.runs.grids import stores_folder
from rotvq.training import files
from rotvq.training.files import DataError, replacing, write_atomically


def test_text_and_bytes_are_written_and_folders_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, "γ = 1\n")
    assert path.read_bytes() == "γ = 1\n".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("new, but only ha")
        assert path.read_text() == "old" and temporary.parent == path.parent
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_who_ends_the_process_waits_for_a_file_that_is_being_written(tmp_path):
    taken = []
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("whole")
        other = threading.Thread(target=lambda: taken.append(files.WRITING.acquire(timeout=0.05)))
        other.start()
        other.join()
    assert taken == [False] and files.WRITING.acquire(timeout=1)
    files.WRITING.release()


# where data and records are

HOMES = [  # the environment, the user's folder
    ({"XDG_DATA_HOME": "{tmp}/xdg"}, "{tmp}/xdg/rotvq"),
    ({"LOCALAPPDATA": "{tmp}/local"}, "{tmp}/local/rotvq"),
    ({"HOME": "{tmp}/home"}, "{tmp}/home/.local/share/rotvq"),
    ({"HOME": "{tmp}/home", "XDG_DATA_HOME": ""}, "{tmp}/home/.local/share/rotvq"),
]


@pytest.mark.parametrize("environment, folder", HOMES)
def test_a_package_without_a_checkout_keeps_records_in_a_folder_of_the_user(tmp_path, monkeypatch, environment, folder):
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "ROTVQ_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    checkout = files.folders()
    assert checkout == [files.CHECKOUT / "data"]
    monkeypatch.setattr(files, "CHECKOUT", tmp_path / "site-packages")
    (tmp_path / "site-packages" / "data").mkdir(parents=True)  # of another package
    expected = Path(folder.format(tmp=tmp_path))
    assert files.folders() == [expected] and stores_folder() == expected / "records"
    monkeypatch.setenv("ROTVQ_DATA", str(tmp_path))
    assert files.folders() == [tmp_path, expected] and stores_folder() == tmp_path / "records"


def test_an_installed_copy_writes_nothing_beside_itself(tmp_path):
    """In a process of its own: the package alone in a folder of packages, as a wheel leaves it."""
    site = tmp_path / "site-packages"
    shutil.copytree(files.CHECKOUT / "rotvq", site / "rotvq", ignore=shutil.ignore_patterns("__pycache__"))
    paths = {
        **os.environ,
        "PYTHONPATH": str(site),
        "XDG_DATA_HOME": str(tmp_path / "own"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    before = sorted(site.rglob("*"))
    code = "import rotvq, sys; from rotvq.__main__ import main; print(rotvq.__file__); sys.exit(main())"
    command = [sys.executable, "-c", code, "grid", "10", "--profile", "smoke", "--status"]
    done = subprocess.run(command, env=paths, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and str(site) in done.stdout and "0 of 14 runs done" in done.stdout, done.stderr
    assert sorted(site.rglob("*")) == before


@pytest.mark.parametrize("value", ["/nowhere", "relative/nowhere", __file__])
def test_a_data_folder_that_is_none_is_named(monkeypatch, value):
    monkeypatch.setenv("ROTVQ_DATA", value)
    for use in (files.folders, stores_folder, lambda: files.read("fashion-mnist/t10k-images-idx3-ubyte.gz")):
        with pytest.raises(DataError, match=f"ROTVQ_DATA is '{value}', which is no folder"):
            use()
