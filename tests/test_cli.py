import sys

import pytest
from PIL import Image

from minidiff import cli
from minidiff.data import pictures


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command line; returns its exit code (or message) and what it printed."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["minidiff", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out + captured.err

    return call


@pytest.fixture
def model(small_pixel_model, tmp_path):
    small_pixel_model.save(tmp_path / "model")
    return tmp_path / "model"


def test_generate_writes_a_grid_a_strip_and_an_animation(run, model, tmp_path):
    words = (
        "--model",
        model,
        "--out",
        tmp_path / "new" / "grid.png",
        "--strip",
        tmp_path / "strip.png",
        "--gif",
        tmp_path / "a.gif",
    )
    code, printed = run(
        "generate",
        *words,
        "--count",
        6,
        "--grid",
        3,
        "--steps",
        5,
        "--seed",
        3,
        "--device",
        "cpu",
        "--batch-size",
        4,
    )
    assert not code
    assert all(str(path) in printed for path in words if str(path).endswith((".png", ".gif")))
    with Image.open(tmp_path / "new" / "grid.png") as grid:
        assert grid.width / grid.height == pytest.approx(3 / 2, rel=0.05)
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.width > 9 * strip.height
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames >= 5


def test_generate_draws_prompts_and_notes_how(run, small_model, tmp_path):
    small_model.save(tmp_path / "model")
    out = tmp_path / "new" / "x.png"
    words = ("--model", tmp_path / "model", "--out", out, "--steps", 3, "--device", "cpu", "--seed", 5)
    assert not run("generate", "a red seven", "a blue two", *words, "--count", 2, "--grid", 2, "--negative", "navy")[0]
    with Image.open(out) as grid:
        assert grid.size == (2 * 64 + 2, 2 * 64 + 2)
    notes = pictures.read_notes(out)
    assert notes["prompts"] == ["a red seven", "a red seven", "a blue two", "a blue two"]
    assert (notes["seed"], notes["steps"], notes["sampler"], notes["guidance_scale"]) == (5, 3, "ddim", 3)
    assert (notes["negative"], len(notes["weights"])) == ("navy", 64)
    code, printed = run("info", "--picture", out)
    assert not code
    assert "a blue two" in printed
    first = out.read_bytes()
    out.unlink()
    away = ["--negative", notes["negative"], "--guidance", notes["guidance_scale"], "--sampler", notes["sampler"]]
    assert not run("generate", *notes["prompts"], *words, *away, "--grid", 2)[0]
    assert out.read_bytes() == first
    assert "this model draws from prompts" in run("generate", *words)[0]


def test_a_model_without_prompts_takes_none(run, model, tmp_path):
    code, _ = run("generate", "a red seven", "--model", model, "--out", tmp_path / "x.png")
    assert "this model draws without prompts" in code


def test_info_describes_the_machine_and_a_model(run, model):
    code, printed = run("info", "--model", model)
    assert not code
    assert "torch" in printed
    assert "predicts v" in printed


def test_evaluate_asks_the_judge_of_the_subject(run, small_model, tmp_path):
    small_model.save(tmp_path / "cats", notes={"subject": "cats"})
    code, _ = run("evaluate", tmp_path / "cats")
    assert "draws cats, but there are judges only for digits, emoji" in code


@pytest.mark.slow
def test_train_leaves_a_model_that_generates_and_can_be_resumed(run, tmp_path):
    words = ("train", "digits-pixel", "--out", tmp_path / "run", "--steps", 2, "--batch-size", 4, "--device", "cpu")
    assert not run(*words)[0]
    assert {"config.json", "model.safetensors", "checkpoint.safetensors", "loss.png", "samples-000002.png"} == {
        p.name for p in (tmp_path / "run").iterdir()
    }
    assert not run("generate", "--model", tmp_path / "run", "--out", tmp_path / "x.png", "--count", 1, "--steps", 1)[0]
    code, _ = run(*words)
    assert "resume it, or choose another folder" in code
    assert not run(*words, "--resume")[0]
    code, _ = run(*words[:-3], 8, "--resume")
    assert "batch_size was 4 and is now 8" in code


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "cats"), "unknown recipe 'cats'"),
        (("train", "digits-pixel", "--steps", "0"), "steps must be at least 1"),
        (("train", "digits-pixel", "--device", "tpu"), "unknown device 'tpu'"),
        (("train", "digits-pixel", "--batch-size", "9999"), "a batch of 9999"),
        (("generate", "--out", "x.jpg"), "ends in .png"),
        (("generate",), "this model draws from prompts"),
        (("generate", "--model", "nowhere", "--out", "x.png"), "nowhere is not a model"),
        (("generate", "--model", "digits-pixel", "--out", "x.png", "--sampler", "magic"), "unknown sampler 'magic'"),
        (("generate", "--model", "digits-pixel", "--out", "x.png", "--steps", "5000"), "room for 1 to 1000 steps"),
        (
            ("generate", "--model", "digits-pixel", "--out", "x.png", "--count", "0"),
            "number of images must be at least 1",
        ),
        (("evaluate", "nowhere"), "nowhere is not a model"),
        (("evaluate", "digits-pixel", "--count", "0"), "number of images must be at least 1"),
    ],
)
def test_a_user_s_mistake_gets_one_line_that_helps(run, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed = run(*words)
    assert message in str(code)
    assert str(code).startswith("minidiff: ")
    assert "\n" not in str(code)
    assert "Traceback" not in printed
    assert not list(tmp_path.rglob("*.png"))


def test_help_names_every_command(run):
    commands = ("train", "generate", "edit", "inpaint", "outpaint", "evaluate", "info")
    assert all(name in run("--help")[1] for name in commands)


def test_every_command_that_draws_has_the_options_of_sampling_and_of_the_grid(run):
    for command in ("generate", "edit", "inpaint", "outpaint", "evaluate"):
        code, printed = run(command, "--help")
        assert code == 0
        options = ["--guidance", "--steps", "--sampler", "--seed"] + ["--grid", "--scale"] * (command != "evaluate")
        assert [option for option in options if option not in printed] == []


def test_edit_inpaint_and_outpaint_write_pictures_and_note_how(run, small_model, tmp_path):
    small_model.save(tmp_path / "model")
    pictures.save_png(Image.new("RGB", (32, 32), "red"), tmp_path / "red.png")
    half = Image.new("L", (32, 32), 0)
    half.paste(255, (0, 0, 16, 32))
    half.save(tmp_path / "mask.png")
    common = ("--model", tmp_path / "model", "--steps", 3, "--scale", 1, "--device", "cpu")
    for words, size in (
        (("edit", "--strength", 0.5, "--count", 2), (34, 16)),
        (("inpaint", "--mask", tmp_path / "mask.png"), (16, 16)),
        (("inpaint", "--box", 0, 0, 16, 32, "--resampling", 2), (16, 16)),
        (("outpaint", "--padding", 8), (32, 32)),
    ):
        command, *options = words
        out = tmp_path / f"{command}.png"
        code, printed = run(command, tmp_path / "red.png", "a blue two", *options, *common, "--out", out)
        assert code == 0, printed
        with Image.open(out) as picture:
            assert picture.size == size
            kept = [picture.getpixel((x, y)) for x in range(8, 16) for y in range(16)]
        if command == "inpaint":
            assert set(kept) == {(255, 0, 0)}
        assert pictures.read_notes(out)["prompt"] == "a blue two"


def test_what_cannot_be_edited_gets_one_line(run, model, small_model, tmp_path):
    small_model.save(tmp_path / "text")
    for name, size in (("red.png", 32), ("small.png", 16)):
        pictures.save_png(Image.new("RGB", (size, size), "red"), tmp_path / name)
    red, use = tmp_path / "red.png", ("--model", tmp_path / "text", "--steps", 2, "--out", tmp_path / "out.png")
    for words, message in (
        (("edit", red, "a two", "--strength", 0, *use), "strength must lie in (0, 1]"),
        (("edit", tmp_path / "none.png", "a two", *use), "cannot read the picture"),
        (("edit", red, "a two", "--model", model), "draws without prompts and cannot edit"),
        (("edit", red, "a two", *use, "--count", 0), "count must be at least 1"),
        (("inpaint", red, "a two", *use), "either --mask FILE or --box"),
        (
            ("inpaint", red, "a two", *use, "--mask", tmp_path / "small.png"),
            "as large as the picture, 32×32; got 16×16",
        ),
        (("inpaint", red, "a two", *use, "--box", 8, 8, 8, 16), "a box is left, top, right, bottom"),
        (("outpaint", red, "a two", *use, "--padding", 0), "padding must be positive"),
    ):
        code, _ = run(*words)
        assert str(code).startswith("minidiff: ")
        assert message in code
    assert not (tmp_path / "out.png").exists()
