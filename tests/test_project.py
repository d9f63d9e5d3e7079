"""What users rely on beside the code: files that agree with each other, imports that go one way, notebooks that were really run."""

import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_environment_yml_installs_what_pyproject_names():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    extras = ",".join(PYPROJECT["project"]["optional-dependencies"])
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{extras}]"]}
    assert f"python{PYPROJECT['project']['requires-python']}" in conda
    assert environment["channels"] == ["conda-forge"]


def test_every_dependency_is_pinned():
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    assert {re.match(r"[\w-]+", name)[0].lower() for name in wanted} <= pinned


def test_asked_for_packages_are_there():
    project = PYPROJECT["project"]
    names = {re.match(r"[\w-]+", name)[0] for name in project["dependencies"] + project["optional-dependencies"]["dev"]}
    assert {"torch", "jupyter", "numpy", "matplotlib", "einops", "pytest", "nbval"} <= names


@pytest.mark.slow
def test_imports_go_down_the_floors():
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_heart_of_the_core_stays_short_enough_to_be_read_in_an_afternoon():
    """Mathematics, samplers, networks and guidance, without the adapters and networks that only published files need."""
    package = ROOT / "minidiff"
    beside = {package / "nets" / name for name in ("lora.py", "controlnet.py", "dit.py")}
    files = [*chain.from_iterable((package / part).rglob("*.py") for part in ("diffusion", "samplers", "nets"))]
    files = [path for path in [*files, package / "guidance.py"] if path not in beside]
    assert len(files) > 20
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= 2500


def test_the_readme_lists_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"notebooks/{path.name}" in readme for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def cells(self, path: Path) -> list[dict]:
        return nbformat.read(path, as_version=4).cells

    def code(self, path: Path) -> list[dict]:
        return [cell for cell in self.cells(path) if cell.cell_type == "code"]

    def test_is_valid(self, path):
        nbformat.validate(json.loads(path.read_text(encoding="utf-8")))

    def test_every_cell_was_run_in_order_and_without_error(self, path):
        """A cell that was never run passes nbval whatever it prints."""
        code = self.code(path)
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]

    def test_no_output_is_a_warning_or_an_address(self, path):
        texts = [
            out.get("text", "") or out.get("data", {}).get("text/plain", "")
            for cell in self.code(path)
            for out in cell.outputs
        ]
        assert not [text for text in texts if re.search(r"0x[0-9a-f]{6,}|Warning:", text)]

    def test_only_marked_cells_escape_comparison(self, path):
        allowed = {"nbval-ignore-output", "exercise", "exercise-check"}
        tags = {tag for cell in self.cells(path) for tag in cell.metadata.get("tags", [])}
        assert {tag for tag in tags if not tag.startswith("formula:")} <= allowed

    def test_exercises_have_a_solution_a_hint_and_a_check(self, path):
        cells = self.cells(path)
        exercises = [i for i, cell in enumerate(cells) if "exercise" in cell.metadata.get("tags", [])]
        assert path.name.startswith("00") or len(exercises) >= 3
        for i in exercises:
            source = cells[i].source
            assert 0 <= source.find("### BEGIN SOLUTION") < source.find("### END SOLUTION")
            assert "exercise-check" in cells[i + 1].metadata.tags
            assert "<details><summary>hint</summary>" in cells[i - 1].source

    def test_has_pictures_checks_and_what_the_sources_say(self, path):
        cells = self.cells(path)
        assert any("image/png" in out.get("data", {}) for cell in self.code(path) for out in cell.outputs)
        assert (
            sum(
                len(re.findall(r"\b(?:same|within_error|symbolic|different)\(|\bassert\b", cell.source))
                for cell in self.code(path)
            )
            >= 6
        )
        assert path.name.startswith("00") or any("What the sources say" in cell.source for cell in cells)


def test_no_bundled_file_is_over_25_mb_and_the_models_of_prompts_take_40_at_most():
    sizes = {path: path.stat().st_size for path in (ROOT / "data").rglob("*") if path.is_file()}
    assert max(sizes.values()) <= 25e6
    assert 0 < sum(size for path, size in sizes.items() if path.parent.name in ("digits", "emoji")) <= 40e6
