"""Runs one test after another on patched copies of the package, in one process: starting PyTorch anew for each would take minutes.

Called as `python run.py COPY`, with patches as JSON on standard input; prints pytest's exit code for each as JSON.
"""

import contextlib
import importlib
import io
import itertools
import json
import os
import sys
from pathlib import Path

import pytest

BY_CLAIM = ("-o", "addopts=--strict-markers")  # types are not checked: a mistake must be rejected for what it computes
copy = Path(sys.argv[1])
sys.path.insert(0, str(copy))


def run(tests: list[str]) -> tuple[int, str]:
    """pytest's exit code, and what it printed, for a package that is imported afresh."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(copy)):
            del sys.modules[name]
    importlib.invalidate_caches()
    finders = list(sys.meta_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = pytest.main(
            [
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                *BY_CLAIM,
                "--rootdir",
                str(copy),
                *(str(copy / test) for test in tests),
            ]
        )
    sys.meta_path[:] = finders
    return int(code), printed.getvalue()[-3000:]


def write(path: Path, source: str) -> None:
    """Write a source file with a date of its own: Python compiles it again, and every other file only once."""
    path.write_text(source, encoding="utf-8")
    os.utime(path, times=(next(dates),) * 2)


answers, dates = [], itertools.count(1)
for file, old, new, tests in json.load(sys.stdin):
    path = copy / file
    source = path.read_text(encoding="utf-8")
    write(path, source.replace(old, new))
    answers.append(run(tests))
    write(path, source)
print(json.dumps(answers))
