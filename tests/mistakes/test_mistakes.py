"""A test suite is as good as the wrong code that it rejects."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from patches import EQUIVALENTS, MISTAKES, Patch  # noqa: E402

pytestmark = pytest.mark.slow
WORKERS = min(4, os.cpu_count() or 1)
NAMED = sorted({patch.test for patch in MISTAKES + EQUIVALENTS})

Outcome = tuple[int, str]  # pytest's exit code, and what it printed


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> dict[Patch | None, Outcome]:
    """What pytest says of every patch, and under None of the project without any."""
    patches = [None, *MISTAKES, *EQUIVALENTS]
    shares = [patches[worker::WORKERS] for worker in range(WORKERS)]
    copies = [copied(tmp_path_factory.mktemp("patched")) for _ in shares]
    with ThreadPoolExecutor(WORKERS) as pool:
        return {patch: outcome for outcomes in pool.map(tried, shares, copies) for patch, outcome in outcomes.items()}


def copied(copy: Path) -> Path:
    """The project in another folder, without what patched tests do not need."""
    for folder in ("minidiff", "tests", "data"):
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "mistakes", "parity")
        )
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def tried(patches: list[Patch | None], copy: Path) -> dict[Patch | None, Outcome]:
    """What pytest says of these patches, one after the other, in one process on a copy of the project."""
    runs = [
        ("minidiff/__init__.py", "", "", NAMED) if patch is None else (patch.file, patch.old, patch.new, [patch.test])
        for patch in patches
    ]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("run.py"), copy],
        input=json.dumps(runs), capture_output=True, text=True, cwd=copy, env=os.environ | {"TQDM_DISABLE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(patches, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("patch", MISTAKES + EQUIVALENTS, ids=lambda patch: patch.name)
def test_a_patch_fits_in_one_place(patch):
    assert (ROOT / patch.file).read_text(encoding="utf-8").count(patch.old) == 1


def test_the_tests_pass_without_a_patch(outcome):
    code, printed = outcome[None]
    assert code == pytest.ExitCode.OK, printed


@pytest.mark.parametrize("patch", MISTAKES, ids=lambda patch: patch.name)
def test_a_mistake_is_rejected(patch, outcome):
    code, printed = outcome[patch]
    assert code == pytest.ExitCode.TESTS_FAILED, f"{patch.test} lets it pass, or could not run:\n{printed}"


@pytest.mark.parametrize("patch", EQUIVALENTS, ids=lambda patch: patch.name)
def test_an_equivalent_is_accepted(patch, outcome):
    code, printed = outcome[patch]
    assert code == pytest.ExitCode.OK, printed
