"""Numbers that say how good samples are."""

from minidiff.metrics.digit_judge import DigitJudge, DigitReport, report, train_judge

__all__ = ["DigitJudge", "DigitReport", "report", "train_judge"]
