"""What `minidiff evaluate` says of a model: each kind of model by the judge that knows its subject."""

import sys
from pathlib import Path

from minidiff.metrics import digit_judge
from minidiff.pipelines import folders
from minidiff.pipelines.evaluate_digits import evaluate_digits
from minidiff.pipelines.evaluate_emoji import Composition, evaluate_emoji
from minidiff.pipelines.pixel import PixelDiffusion
from minidiff.pipelines.text_to_image import TextToImage


def evaluate(
    model: str | Path,
    count: int | None = None,
    *,
    steps: int | None = None,
    sampler: str | None = None,
    guidance_scale: float | None = None,
    seed: int = 0,
    device: str = "auto",
) -> list[str]:
    """Draw pictures with a model, judge them, and say in lines what came out. None stands for the model's or the judge's own.

    Raises ValueError for a folder that is no model, or a model whose subject no judge knows; and as its `generate` does.
    """
    folder = folders.find(model)
    config = folders.read_config(folder)
    given = {"steps": steps, "sampler": sampler, "guidance_scale": guidance_scale}
    settings = {name: value for name, value in given.items() if value is not None} | {"seed": seed}
    if config["kind"] == PixelDiffusion.KIND:
        return _of_pixels(PixelDiffusion.load(folder, device), count, settings)
    judges = {"digits": _of_digits, "emoji": _of_emoji}
    subject = config.get("subject")
    if subject not in judges:
        raise ValueError(f"{model} draws {subject or 'pictures'}, and there are judges of {' and '.join(judges)} only")
    return judges[subject](TextToImage.load(folder, device), count, settings)


def _of_pixels(model: PixelDiffusion, count: int | None, settings: dict) -> list[str]:
    samples = model.generate(512 if count is None else count, **settings)
    judge = digit_judge.train_judge(device=str(model.device), progress=sys.stderr.isatty())
    report = digit_judge.report(judge, 2 * samples - 1)
    shares = "  ".join(f"{digit}: {share:.1%}" for digit, share in enumerate(report.class_shares))
    return [
        f"the judge names {report.test_accuracy:.1%} of the real test digits rightly",
        f"it is sure (confidence ≥ 0.9) of {report.real_share:.1%} of the real digits and of {report.sample_share:.1%} of the samples: {report.ratio:.3f} ×",
        f"among those samples: {shares}",
    ]


def _of_digits(model: TextToImage, count: int | None, settings: dict) -> list[str]:
    judged = evaluate_digits(model, 1000 if count is None else count, progress=sys.stderr.isatty(), **settings)
    lines = [f"reconstructions: {judged.reconstruction_psnr:.2f} dB"]
    rows = {"real test pictures": judged.real, "drawn": judged.seen, "drawn, held-out triples": judged.held_out}
    for name, report in rows.items():
        shares = ", ".join(
            f"{attribute} {getattr(report, attribute):.1%}"
            for attribute in ("everything", "digit", "colour", "background", "size")
            if getattr(report, attribute) is not None
        )
        lines.append(f"{name}, right of {report.prompts}: {shares}")
    return lines


def _of_emoji(model: TextToImage, count: int | None, settings: dict) -> list[str]:
    judged = evaluate_emoji(model, *([] if count is None else [count]), **settings)

    def said(of: Composition) -> str:
        return f"both {of.both:.1%}, colour {of.colour:.1%}, object {of.thing:.1%}"

    return [
        f"recall: the caption asked for comes first for {judged.recall:.1%} of the drawn and {judged.real_recall:.1%} of the real pictures",
        f"composition, pairs of colour and object that training never showed: {said(judged.composition)}",
        f"the same of real pictures recoloured by rule: {said(judged.real_composition)}",
    ]
