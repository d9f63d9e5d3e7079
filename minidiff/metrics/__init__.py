"""Numbers that say how good samples are."""

from minidiff.metrics.digit_judge import DigitJudge, DigitReport, report, train_judge
from minidiff.metrics.prompt_judge import PromptJudge, PromptReport, train_prompt_judge
from minidiff.metrics.psnr import psnr

__all__ = [
    "DigitJudge",
    "DigitReport",
    "PromptJudge",
    "PromptReport",
    "psnr",
    "report",
    "train_judge",
    "train_prompt_judge",
]
