"""Exports onto a disk that is full or cannot be written: one clear line, and the versions before stay as they were."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_cases import PIPELINES

# Run where mounts are its own: on a disk too small for another version, then on the same made read-only.
DRIVER = """
import contextlib, filecmp, io, json, os, runpy, subprocess, sys
script, source, disk = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
subprocess.run(["cp", "-r", source + "/.", disk], check=True)
found = []
for remount in ([], ["mount", "-o", "remount,ro", disk]):
    if remount:
        subprocess.run(remount, check=True)
    complaint, status = io.StringIO(), 0
    sys.argv = [script, "--model", disk]
    with contextlib.redirect_stderr(complaint):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            status = stop.code
    same = not filecmp.dircmp(source + "/1", disk + "/1").diff_files
    found.append([status, complaint.getvalue(), sorted(os.listdir(disk)), same])
print(json.dumps(found))
"""


def may_mount(folder: Path) -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", folder]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


def test_a_full_and_a_read_only_disk_are_the_user_s_errors(exported: Callable[[str], Path], tmp_path: Path) -> None:
    if not may_mount(tmp_path):
        pytest.skip("needs the right to mount a small disk, as root has")
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", DRIVER, PIPELINES / "export.py", exported("entities"), tmp_path],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    full, read_only = json.loads(done.stdout)
    assert full[0] == 2
    assert "error: No space left on device" in full[1]
    assert "Free some space and run again." in full[1]
    assert read_only[0] == 2
    assert "error: Read-only file system" in read_only[1]
    for _, _, listed, same in (full, read_only):
        assert (listed, same) == (["1", "model"], True)
