"""Metrics of multi-label answers, as data."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo

_RANKED = "scikit-learn 1.9, user guide, 3.4.4: multi-label ranking metrics"


def _of_labels(id_: str, name: str, definition: str, **more: str) -> MetricInfo:
    return MetricInfo(
        id=id_, name=name, definition=definition, lower=0.0, upper=1.0,
        direction=more.get("direction", "higher"), source=more.get("source", ""),
    )  # fmt: skip


LABEL_METRICS = (
    _of_labels(
        "subset-accuracy",
        "Subset accuracy",
        "The share of samples of which every label is predicted rightly.",
    ),
    _of_labels(
        "hamming-loss",
        "Hamming loss",
        "The share of wrong labels, of all labels of all samples.",
        direction="lower",
    ),
    _of_labels(
        "f1-micro-labels",
        "F1, micro over labels",
        "2 TP / (2 TP + FP + FN), each summed over all labels of all samples.",
    ),
    _of_labels(
        "f1-macro-labels",
        "F1, macro over labels",
        "The mean of each label's F1, of labels that some sample has or is predicted to have.",
    ),
    _of_labels(
        "f1-samples",
        "F1 by sample",
        "The mean over samples of the F1 of a sample's labels; 1 where there is none and none is "
        "predicted.",
    ),
    _of_labels(
        "average-precision-macro-labels",
        "Mean average precision over labels",
        "The mean of each label's average precision, of labels that some samples have and some "
        "lack.",
        source=_RANKED,
    ),
    _of_labels(
        "auroc-macro-labels",
        "Mean AUROC over labels",
        "The mean of each label's AUROC, of labels that some samples have and some lack.",
    ),
    _of_labels(
        "ranking-average-precision",
        "Label-ranking average precision",
        "The mean over samples, and over a sample's labels, of the share of its labels among "
        "those ranked as high; 1 for samples with no label or all.",
        source=_RANKED,
    ),
    _of_labels(
        "average-precision-label",
        "Average precision by label",
        "The area under the precision-recall curve of one label's scores, in steps.",
    ),
    _of_labels(
        "auroc-label",
        "AUROC by label",
        "The chance that a sample with the label has a higher score than one without; ties count "
        "half.",
    ),
    _of_labels(
        "precision-label",
        "Precision by label",
        "Of the samples that the label is predicted of, the share that has it.",
    ),
    _of_labels(
        "recall-label",
        "Recall by label",
        "Of the samples that have the label, the share that it is predicted of.",
    ),
    _of_labels("f1-label", "F1 by label", "2 TP / (2 TP + FP + FN) of one label."),
    _of_labels(
        "ece-l2-15-equal-mass-debiased-label",
        "Debiased calibration error by label",
        "The root of the mean squared difference of a label's probability and its share, in 15 "
        "bins of equally many samples, less what noise adds (Kumar et al. 2019).",
        direction="lower",
    ),
)
"""Every metric of multi-label answers, in the order of the report."""
