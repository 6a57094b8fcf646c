"""The metrics of what a sample costs: memory, operations, bandwidth, energy."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo

MEMORY = MetricInfo(
    id="working-memory",
    name="working memory",
    direction="lower",
    unit="MiB",
    lower=0,
    definition="The most that the process's resident memory rose above what it was when a round "
    "began, over rounds; on a CUDA device the peak that torch allocated there. Weights that are "
    "loaded already are not in the former.",
)

RESERVED = MetricInfo(
    id="reserved-memory",
    name="reserved memory",
    direction="lower",
    unit="MiB",
    lower=0,
    definition="The most that torch's allocator had reserved on the CUDA device, used or not.",
)

PARAMETERS = MetricInfo(
    id="parameters",
    name="parameters",
    direction="none",
    lower=0,
    definition="How many numbers the model's weights hold.",
)

FLOPS = MetricInfo(
    id="flops-per-sample",
    name="operations a sample",
    direction="none",
    unit="MFLOP",
    lower=0,
    source="torch.utils.flop_counter",
    definition="Floating-point operations of one sample, a multiplication and an addition counted "
    "as two, of the operators that torch's counter knows; its method names those it does not.",
)

RATE = MetricInfo(
    id="flop-rate",
    name="operations a second",
    direction="higher",
    unit="GFLOP/s",
    lower=0,
    definition="Operations of a sample times throughput.",
)

UTILISATION = MetricInfo(
    id="flop-utilisation",
    name="utilisation",
    direction="higher",
    unit="%",
    lower=0,
    definition="Operations a second over those of the best of some matrix products, measured on "
    "the same device in the same process, in the precision and with the threads of the model.",
)

BANDWIDTH = MetricInfo(
    id="copy-bandwidth",
    name="bandwidth of a copy",
    direction="none",
    unit="GB/s",
    lower=0,
    definition="Bytes read and written a second by the best of some copies of 64 MiB (1 GiB on a "
    "CUDA device), measured on the same device in the same process.",
)

WEIGHTS_READ = MetricInfo(
    id="weights-bandwidth",
    name="weights read a second",
    direction="higher",
    unit="GB/s",
    lower=0,
    definition="Bytes of the weights times batches a second: the least that a model reads of "
    "memory that has to read its weights for each batch.",
)

SATURATION = MetricInfo(
    id="bandwidth-utilisation",
    name="utilisation of bandwidth",
    direction="higher",
    unit="%",
    lower=0,
    definition="Weights read a second over the bandwidth of a copy. Weights that stay in a cache "
    "can make it more than 100 %.",
)

SIZE = MetricInfo(
    id="weights-size",
    name="size of the weights",
    direction="lower",
    unit="MiB",
    lower=0,
    definition="Bytes of the model's parameters and buffers as they are stored while it answers.",
)

DISK = MetricInfo(
    id="size-on-disk",
    name="size on disk",
    direction="lower",
    unit="MiB",
    lower=0,
    definition="Bytes of the files that the model's address names: weights, and the configuration "
    "and vocabulary that lie with them; not its Python source.",
)

ENERGY = MetricInfo(
    id="energy-per-sample",
    name="energy a sample",
    direction="lower",
    unit="J",
    lower=0,
    definition="Energy by a hardware counter at the knee, over ten seconds or more in all rounds, "
    "less what the idle device uses in that time, a sample.",
)

COSTS = (
    PARAMETERS, SIZE, DISK, FLOPS, RATE, UTILISATION, BANDWIDTH, WEIGHTS_READ, SATURATION, ENERGY,
)  # fmt: skip
