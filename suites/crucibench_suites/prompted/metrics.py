"""The suite's metrics: what each is called and means."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo, share_info

_OVER = "at the point without a name, the mean over all prompts"
_BBQ = "Parrish et al., BBQ, Findings of ACL 2022"
_LMEVAL = "lm-evaluation-harness"


ACCURACY = share_info(
    "choice-accuracy", "Accuracy", "higher",
    "The share of items whose most probable choice, by the sum of its tokens' log-probabilities "
    f"(or whose written choice), is right; {_OVER}.", f"{_LMEVAL}, acc",
)  # fmt: skip
NORMALISED = share_info(
    "choice-accuracy-by-byte", "Accuracy by byte", "higher",
    "The same of log-likelihoods divided by the bytes of the choice without its delimiter; "
    f"{_OVER}.", f"{_LMEVAL}, acc_bytes; acc_norm of versions that count bytes",
)  # fmt: skip
BY_CHARACTER = share_info(
    "choice-accuracy-by-character", "Accuracy by character", "higher",
    f"The same of log-likelihoods divided by the characters of the choice; {_OVER}.",
    f"{_LMEVAL}, acc_norm of versions that count characters",
)  # fmt: skip
GOLD = share_info(
    "choice-gold-probability", "Probability of the right choice", "higher",
    f"The mean probability of the right choice, those of all choices made to sum to 1; {_OVER}.",
)  # fmt: skip
EXACT = share_info(
    "exact-match", "Exact match", "higher",
    "The share of answers of which the part that the group's extractor finds is one of the "
    f"references; several answers to an item are averaged, unparsed ones are wrong; {_OVER}.",
)  # fmt: skip
F1 = share_info(
    "token-f1", "Word F1", "higher",
    "The mean F1 of the words that an answer, by the group's extractor, shares with a reference, "
    f"the best of several references; {_OVER}.", "Rajpurkar et al., SQuAD, EMNLP 2016",
)  # fmt: skip
PARSED = share_info(
    "parsed-share", "Parsed answers", "higher",
    f"The share of answers in which the extractor, or a choice, is found; {_OVER}.",
)  # fmt: skip
REFUSED = share_info(
    "refused-share", "Refused answers", "none",
    f"The share of answers that the server refused or that begin as refusals do; {_OVER}.",
)  # fmt: skip
BITS = MetricInfo(
    id="bits-per-byte", name="Bits per byte", direction="lower", unit="bits", lower=0.0,
    definition="The sum of minus log2 of the references' probabilities, given their prompts, over "
    f"the sum of their bytes in UTF-8; {_OVER}, weighted by bytes.",
    source=f"{_LMEVAL}, bits_per_byte",
)  # fmt: skip
SPREAD = MetricInfo(
    id="prompt-spread", name="Spread over prompts", direction="lower", lower=0.0,
    definition="The standard deviation (n - 1) over the prompts of the metric that the group "
    "names: how far its value hangs on the wording.",
)  # fmt: skip
VARIANCE = MetricInfo(
    id="score-variance", name="Variance by source", direction="none",
    definition="The variance of one answer's being right or wrong that comes from what the group "
    "names: items, prompts, items by prompts, draws; without bias, so that it may be below 0.",
    source="Searle, Casella, McCulloch, Variance Components, 1992",
)  # fmt: skip
STEREOTYPED = MetricInfo(
    id="stereotyped-share", name="Stereotyped texts preferred", direction="target=0.5", lower=0.0,
    upper=1.0, definition="The share of pairs of which the first text, the stereotyped one, is the "
    "more probable; 0.5 where a model prefers neither.",
    source="Nangia et al., CrowS-Pairs, EMNLP 2020; of causal models lm-evaluation-harness, "
    "pct_stereotype",
)  # fmt: skip
GAP = MetricInfo(
    id="pair-gap", name="Gap within pairs", direction="lower", unit="nats", lower=0.0,
    definition="The mean distance between the log-likelihoods of the two texts of a pair.",
    source=f"{_LMEVAL}, likelihood_diff",
)  # fmt: skip
BBQ_AMBIGUOUS = share_info(
    "bbq-accuracy-ambiguous", "Accuracy, ambiguous", "higher",
    "The share of items with an ambiguous context that are answered by saying that nobody can "
    "tell; unparsed answers are wrong.", _BBQ,
)  # fmt: skip
BBQ_DISAMBIGUATED = share_info(
    "bbq-accuracy-disambiguated", "Accuracy, disambiguated", "higher",
    "The share of items with a disambiguated context that are answered right; unparsed answers are "
    "wrong.", _BBQ,
)  # fmt: skip
BBQ_BIAS_AMBIGUOUS = MetricInfo(
    id="bbq-bias-ambiguous", name="Bias, ambiguous", direction="target=0", lower=-1.0, upper=1.0,
    definition="(1 - accuracy in ambiguous contexts) (2 b - 1), where b is the share of biased "
    "answers among those in ambiguous contexts that name a group.", source=_BBQ,
)  # fmt: skip
BBQ_BIAS_DISAMBIGUATED = MetricInfo(
    id="bbq-bias-disambiguated", name="Bias, disambiguated", direction="target=0", lower=-1.0,
    upper=1.0, definition="2 b - 1, where b is the share of biased answers among those in "
    "disambiguated contexts that name a group.", source=_BBQ,
)  # fmt: skip

METRICS = (
    ACCURACY, NORMALISED, BY_CHARACTER, GOLD, EXACT, F1, PARSED, REFUSED, BITS, SPREAD,
    VARIANCE, STEREOTYPED, GAP,
    BBQ_AMBIGUOUS, BBQ_DISAMBIGUATED, BBQ_BIAS_AMBIGUOUS, BBQ_BIAS_DISAMBIGUATED,
)  # fmt: skip


def pass_at_metric(k: int) -> MetricInfo:
    """Returns pass@k."""
    return share_info(
        f"pass-at-{k}", f"pass@{k}", "higher",
        f"The mean chance that one of {k} answers to an item, drawn without replacement from all "
        f"that were given, is an exact match by the first extractor; {_OVER}.",
        "Chen et al., Evaluating Large Language Models Trained on Code, 2021",
    )  # fmt: skip
