"""Numbers that say how good samples are."""

from minidiff.metrics.digit_judge import DigitJudge, DigitReport, report, train_judge
from minidiff.metrics.prompt_judge import PromptJudge, PromptReport, train_prompt_judge

__all__ = [
    "DigitJudge",
    "DigitReport",
    "PromptJudge",
    "PromptReport",
    "report",
    "train_judge",
    "train_prompt_judge",
]
