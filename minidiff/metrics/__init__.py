"""Measures of how good samples are. Judges are trained in `minidiff.recipes.judges`."""

from minidiff.metrics.digit_judge import DigitJudge, DigitReport, report
from minidiff.metrics.prompt_judge import PromptJudge, PromptReport
from minidiff.metrics.psnr import psnr

__all__ = ["DigitJudge", "DigitReport", "PromptJudge", "PromptReport", "psnr", "report"]
