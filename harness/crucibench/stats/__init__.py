"""Statistics: intervals, resampling, paired tests, many tests at once, power, ranks.

Pure functions of arrays in float64, on numpy and scipy alone. Choosing an interval:

- a proportion: `share_interval`; of two models, `newcombe_paired` with `mcnemar_exact`
- an AUROC: `auc_interval`; of two models, `delong_both`
- a mean of numbers within known bounds, such as a loss: `bounded_mean`
- a function of a confusion table: `table_interval`
- a percentile: `quantile_ranks`; how many queries one of latency needs: `minimum_queries`
- anything else, and everything where samples come in clusters: write it as a statistic of weighted
  samples and use `bootstrap_many`, beyond 100,000 samples `block_jackknife_many`; of two models,
  `paired_bootstrap_many` and `paired_jackknife_many`

Whether two samples come from one distribution: `kolmogorov_smirnov` for numbers, `chi_square` for
categories, `maximum_mean_discrepancy` for vectors; `population_stability` says how far apart.
"""

from __future__ import annotations

from crucibench.contracts.statistic import Interval
from crucibench.stats.bootstrap import bootstrap_many, replicates_of
from crucibench.stats.bounded import bounded_mean
from crucibench.stats.composed import difference_of, paired_table_difference, table_interval
from crucibench.stats.delong import (
    DelongEstimate,
    auc,
    auc_interval,
    delong,
    hoeffding_interval,
)
from crucibench.stats.early_stopping import (
    allowed_over,
    early_stopping_rank,
    minimum_queries,
)
from crucibench.stats.intervals import (
    clopper_pearson,
    newcombe_paired,
    newcombe_unpaired,
    normal,
    share_interval,
    student_t,
    wilson,
)
from crucibench.stats.jackknife import block_jackknife_many
from crucibench.stats.linearised import linearised_error, linearised_interval
from crucibench.stats.mcnemar import mcnemar_exact
from crucibench.stats.mmd import maximum_mean_discrepancy
from crucibench.stats.multiple import holm
from crucibench.stats.paired import (
    StatisticPair,
    paired_bootstrap_many,
    paired_jackknife_many,
)
from crucibench.stats.power import (
    detectable_mean,
    detectable_paired_proportions,
    required_n_mean,
    required_n_paired_proportions,
)
from crucibench.stats.quantiles import quantile_rank, quantile_ranks
from crucibench.stats.rank_sets import MeanRanks, RankSets, mean_ranks, rank_sets
from crucibench.stats.replicates import IntervalKind
from crucibench.stats.resampling import Resampler
from crucibench.stats.results import BootstrapResult, PairedDifference
from crucibench.stats.two_sample import (
    Stability,
    TwoSampleTest,
    chi_square,
    kolmogorov_smirnov,
    population_stability,
)
from crucibench.stats.weighted import (
    SumStatistic,
    WeightedStatistic,
    difference,
    weighted_mean,
    weighted_ratio,
    weighted_sums,
)

__all__ = [
    "BootstrapResult",
    "DelongEstimate",
    "Interval",
    "IntervalKind",
    "MeanRanks",
    "PairedDifference",
    "RankSets",
    "Resampler",
    "Stability",
    "StatisticPair",
    "SumStatistic",
    "TwoSampleTest",
    "WeightedStatistic",
    "allowed_over",
    "auc",
    "auc_interval",
    "block_jackknife_many",
    "bootstrap_many",
    "bounded_mean",
    "chi_square",
    "clopper_pearson",
    "delong",
    "detectable_mean",
    "detectable_paired_proportions",
    "difference",
    "difference_of",
    "early_stopping_rank",
    "hoeffding_interval",
    "holm",
    "kolmogorov_smirnov",
    "linearised_error",
    "linearised_interval",
    "maximum_mean_discrepancy",
    "mcnemar_exact",
    "mean_ranks",
    "minimum_queries",
    "newcombe_paired",
    "newcombe_unpaired",
    "normal",
    "paired_bootstrap_many",
    "paired_jackknife_many",
    "paired_table_difference",
    "population_stability",
    "quantile_rank",
    "quantile_ranks",
    "rank_sets",
    "replicates_of",
    "required_n_mean",
    "required_n_paired_proportions",
    "share_interval",
    "student_t",
    "table_interval",
    "weighted_mean",
    "weighted_ratio",
    "weighted_sums",
    "wilson",
]
