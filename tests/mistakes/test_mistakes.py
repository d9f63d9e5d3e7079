"""A test suite is as good as the wrong code that it rejects."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from patches import EQUIVALENTS, MISTAKES, Patch  # noqa: E402

pytestmark = pytest.mark.slow
UNCHANGED = [
    Patch("unchanged", "minidiff/__init__.py", "", "", test) for test in sorted({patch.test for patch in MISTAKES})
]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> dict[Patch, tuple[int, str]]:
    """pytest's exit code and output for every patch, from one process on a copy of the project."""
    copy = tmp_path_factory.mktemp("patched")
    for folder in ("minidiff", "tests", "data"):
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "mistakes", "parity")
        )
    shutil.copy(ROOT / "pyproject.toml", copy)
    patches = UNCHANGED + MISTAKES + EQUIVALENTS
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("run.py"), copy],
        input=json.dumps([(patch.file, patch.old, patch.new, patch.test) for patch in patches]),
        capture_output=True, text=True, cwd=copy, env=os.environ | {"TQDM_DISABLE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(patches, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("patch", MISTAKES + EQUIVALENTS, ids=lambda patch: patch.name)
def test_a_patch_fits_in_one_place(patch):
    assert (ROOT / patch.file).read_text(encoding="utf-8").count(patch.old) == 1


@pytest.mark.parametrize("patch", UNCHANGED, ids=lambda patch: patch.test)
def test_the_tests_pass_without_a_patch(patch, outcome):
    code, printed = outcome[patch]
    assert code == pytest.ExitCode.OK, printed


@pytest.mark.parametrize("patch", MISTAKES, ids=lambda patch: patch.name)
def test_a_mistake_is_rejected(patch, outcome):
    code, printed = outcome[patch]
    assert code == pytest.ExitCode.TESTS_FAILED, f"{patch.test} lets it pass, or could not run:\n{printed}"


@pytest.mark.parametrize("patch", EQUIVALENTS, ids=lambda patch: patch.name)
def test_an_equivalent_is_accepted(patch, outcome):
    code, printed = outcome[patch]
    assert code == pytest.ExitCode.OK, printed
