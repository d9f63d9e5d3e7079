"""`minidiff evaluate`: draw images with a model, judge them, and report the results in lines of text."""

from pathlib import Path

from minidiff import storage
from minidiff.metrics import digit_judge
from minidiff.pipelines import PixelDiffusion, TextToImage, load
from minidiff.recipes.evaluate_digits import evaluate_digits
from minidiff.recipes.evaluate_emoji import Composition, evaluate_emoji
from minidiff.recipes.judges import train_digit_judge


def evaluate(model: str | Path, count: int | None = None, *, device: str = "auto", **settings) -> list[str]:
    """Draw with a model, judge the images, and return the report line by line.

    `settings` are arguments of `generate`; a value of None means the model's own. Without `count` the judge chooses how many images are
    drawn. Raises ValueError for a folder that is not a model, or a model whose subject no judge knows, and as `generate` does.
    """
    pipeline = load(model, device)
    subject = storage.read_config(storage.find_model(model)).get("subject", pipeline.KIND)
    if subject not in JUDGES:
        known = ", ".join(judged for judged in JUDGES if judged != PixelDiffusion.KIND)
        raise ValueError(f"{model} draws {subject}, but there are judges only for {known}")
    return JUDGES[subject](pipeline, count, settings)


def _pixel_report(model: PixelDiffusion, count: int | None, settings: dict) -> list[str]:
    samples = model.generate(512 if count is None else count, **settings)
    judge = train_digit_judge(device=str(model.device))
    report = digit_judge.report(judge, 2 * samples - 1)
    shares = "  ".join(f"{digit}: {share:.1%}" for digit, share in enumerate(report.class_shares))
    return [
        f"the judge names {report.test_accuracy:.1%} of the real test digits correctly",
        f"it is confident (≥ 0.9) about {report.real_share:.1%} of the real digits and {report.sample_share:.1%} of the samples: {report.ratio:.3f} ×",
        f"classes of those samples: {shares}",
    ]


def _digits_report(model: TextToImage, count: int | None, settings: dict) -> list[str]:
    judged = evaluate_digits(model, 1000 if count is None else count, **settings)
    lines = [f"reconstructions: {judged.reconstruction_psnr:.2f} dB"]
    rows = {"real test pictures": judged.real, "drawn": judged.seen, "drawn, held-out triples": judged.held_out}
    for name, report in rows.items():
        shares = ", ".join(
            f"{attribute} {getattr(report, attribute):.1%}"
            for attribute in ("everything", "digit", "colour", "background", "size")
            if getattr(report, attribute) is not None
        )
        lines.append(f"{name}, correct in {report.prompts}: {shares}")
    return lines


def _emoji_report(model: TextToImage, count: int | None, settings: dict) -> list[str]:
    judged = evaluate_emoji(model, *([] if count is None else [count]), **settings)

    def shares(of: Composition) -> str:
        return f"both {of.both:.1%}, colour {of.colour:.1%}, object {of.thing:.1%}"

    return [
        f"recall: the caption asked for is ranked first for {judged.recall:.1%} of the drawn and {judged.real_recall:.1%} of the real pictures",
        f"composition, pairs of colour and object that training never showed: {shares(judged.composition)}",
        f"the same for real pictures recoloured by rule: {shares(judged.real_composition)}",
    ]


JUDGES = {PixelDiffusion.KIND: _pixel_report, "digits": _digits_report, "emoji": _emoji_report}
