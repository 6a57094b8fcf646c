"""The metrics of the throughput suite: what each is called and means."""

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

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
"""Name to share."""

_LOADGEN = "MLPerf LoadGen, loadgen/results.cc and early_stopping.cc"


def _percentile(name: str, share: float) -> MetricInfo:
    return MetricInfo(
        id=f"latency-{name}",
        name=f"latency {name}",
        direction="lower",
        unit="ms",
        lower=0,
        source=_LOADGEN,
        definition="Of all timed queries' latencies, sorted, the one at position "
        f"floor({share:g} n), without interpolation. Null with fewer queries than early "
        "stopping asks for.",
    )


LATENCIES = tuple(_percentile(name, share) for name, share in PERCENTILES.items())

EARLY_STOPPING = tuple(
    MetricInfo(
        id=f"latency-{name}-early-stopping",
        name=f"latency {name}, early stopping",
        direction="lower",
        unit="ms",
        lower=0,
        source=_LOADGEN,
        definition=f"An upper bound of {name} with 99 % confidence: of the t slowest queries that "
        "so many queries allow, t - 1 are discarded and the next is reported.",
    )
    for name in ("p90", "p99")
)

DEVICE = MetricInfo(
    id="device-latency-p50",
    name="latency p50 by the device's clock",
    direction="lower",
    unit="ms",
    lower=0,
    source="CUDA events",
    definition="The median time from the first kernel of a query to the end of its last, by events "
    "in the device's stream: without preprocessing, without the copy to the device, and without "
    "the wait of who asked. Gaps between kernels are in it.",
)

MEAN = MetricInfo(
    id="latency-mean",
    name="mean latency",
    direction="lower",
    unit="ms",
    lower=0,
    definition="The mean latency of all timed queries.",
)

THROUGHPUT = MetricInfo(
    id="throughput",
    name="throughput",
    direction="higher",
    unit="samples/s",
    lower=0,
    definition="Samples answered in all rounds, over the seconds from each round's first query to "
    "its last answer.",
)

ARRIVALS = MetricInfo(
    id="arrival-rate",
    name="arrival rate",
    direction="none",
    unit="queries/s",
    lower=0,
    definition="The rate of the Poisson process by which queries arrive: the load times what the "
    "model answers a second, one after the other.",
)

NOISE = MetricInfo(
    id="coefficient-of-variation",
    name="variation between rounds",
    direction="none",
    unit="%",
    lower=0,
    definition="The standard deviation of the rounds' median latencies over their mean.",
)

FLOOR = MetricInfo(
    id="noise-floor",
    name="noise floor",
    direction="none",
    unit="%",
    lower=0,
    definition="The slowdown that the model against itself can't rule out: each round's first and "
    "second half compared, A B and B A in turn, the far end of the 95 % interval of their ratio.",
)

FIRST_CALL = MetricInfo(
    id="first-call",
    name="first call",
    direction="none",
    unit="ms",
    lower=0,
    definition="The first call of the warm-up. The process may have asked the model before: no "
    "cold start.",
)

WARM_UP = MetricInfo(
    id="warm-up-queries",
    name="warm-up",
    direction="none",
    unit="queries",
    lower=0,
    definition="How many queries it took until times no longer fell, or a cap was reached.",
)

BATCH = MetricInfo(
    id="batch-size",
    name="batch size",
    direction="none",
    unit="samples",
    lower=1,
    definition="At the knee: the smallest batch that reaches 95 % of the highest throughput.",
)

RATIO = MetricInfo(
    id="latency-ratio",
    name="latency, times that of the plain model",
    direction="lower",
    lower=0,
    definition="The geometric mean, over rounds, of the model's median latency in a single stream "
    "over that of the model as it is, which took its turn in the same round.",
)

ACCURACY = MetricInfo(
    id="accuracy-difference",
    name="accuracy less that of the plain model",
    direction="higher",
    unit="%",
    lower=-100,
    upper=100,
    definition="The share of samples that the model gets right less that of the model as it is, "
    "over the same samples.",
)

FLIPS = MetricInfo(
    id="flips",
    name="flipped answers",
    direction="lower",
    unit="%",
    lower=0,
    upper=100,
    definition="The share of samples to which the model gives another class than the model as it "
    "is.",
)

WORSE = MetricInfo(
    id="flips-to-wrong",
    name="flipped from right to wrong",
    direction="lower",
    unit="%",
    lower=0,
    upper=100,
    definition="The share of samples that the model as it is gets right and the variant does not.",
)

SHARES = tuple(
    MetricInfo(
        id=name, name=title, direction="none", unit="%", lower=0, upper=100, definition=definition
    )
    for name, title, definition in (
        (
            "quantised-parameters", "quantised parameters",
            "The share of the model's parameters that are whole numbers of 8 bits.",
        ),
        (
            "quantised-multiply-adds", "quantised multiply-adds",
            "The share of the multiplications and additions that torch's counter knows that are "
            "done in 8 bits; of an ONNX file, of those of convolutions and products with stored "
            "weights.",
        ),
        (
            "zero-parameters", "parameters that are zero",
            "The share of the model's parameters that are zero.",
        ),
    )
)  # fmt: skip

HIGHEST = MetricInfo(
    id="highest-rate",
    name="highest rate within the latency bound",
    direction="higher",
    unit="queries/s",
    lower=0,
    source=_LOADGEN,
    definition="The highest rate of a Poisson process, below all that failed, at which a trial "
    "passed: no more queries exceeded the bound than early stopping allows. The interval is what "
    "the search left open, up to the lowest rate that failed.",
)

TRIALS = MetricInfo(
    id="trials",
    name="trials",
    direction="none",
    lower=0,
    definition="How many rates were tried.",
)


def _start(name: str, title: str, definition: str) -> MetricInfo:
    return MetricInfo(
        id=name, name=title, direction="lower", unit="ms", lower=0, definition=definition
    )


COLD = (
    _start(
        "cold-start", "cold start",
        "From the start of a new process to its first answer: the sum of process-start, "
        "model-load, model-prepare and cold-call. The model's files are in the system's cache.",
    ),
    _start(
        "process-start", "start of the process",
        "Until it begins to open the model: the interpreter, the harness, and the libraries that "
        "the sample is made of.",
    ),
    _start(
        "model-load", "loading the model",
        "Opening the model as it is: its library, its weights, and the look that is taken at it.",
    ),
    _start(
        "model-prepare", "making the variant",
        "Making the variant of the model, compilation among it; 0 for the model as it is.",
    ),
    _start("cold-call", "first call in a new process", "The first query of one sample."),
    _start(
        "later-call", "later calls in a new process",
        "The median of the ten queries after the first: what the first took beyond it is paid "
        "once.",
    ),
    MetricInfo(
        id="process-memory", name="memory of the process", direction="lower", unit="MiB", lower=0,
        definition="The most that a new process had resident that opened this model alone and "
        "answered eleven queries of one sample, the interpreter and all libraries among it.",
    ),
)  # fmt: skip

SUSTAINED_RATIO = MetricInfo(
    id="sustained-ratio",
    name="latency when sustained, times that after rest",
    direction="lower",
    lower=0,
    definition="The geometric mean, over stretches, of the median latency in the later half of a "
    "stretch of batches without a pause over that in its first tenth, which follows a rest.",
)

PREPARED_RATIO = MetricInfo(
    id="prepared-ratio",
    name="latency, times that of samples in memory",
    direction="lower",
    lower=0,
    definition="The geometric mean, over rounds, of the median latency from this place on over "
    "that from the sample in memory on, which single-stream and offline time.",
)

END_TO_END = (*LATENCIES, MEAN, THROUGHPUT, DEVICE, PREPARED_RATIO)
SEARCH = (HIGHEST, TRIALS)
VARIANT = (RATIO, ACCURACY, FLIPS, WORSE, *SHARES)
STREAM = (*LATENCIES, *EARLY_STOPPING, DEVICE, MEAN, THROUGHPUT, NOISE, FLOOR, FIRST_CALL, WARM_UP)
OFFLINE = (THROUGHPUT, LATENCIES[0], DEVICE, BATCH, NOISE, MEMORY, RESERVED, *COSTS)
SERVER = (*LATENCIES, MEAN, ARRIVALS, NOISE)
SUSTAINED = (LATENCIES[0], THROUGHPUT, SUSTAINED_RATIO)
METRICS = tuple(
    {
        info.id: info
        for info in (
            *STREAM,
            *OFFLINE,
            *SERVER,
            *SEARCH,
            *VARIANT,
            *COLD,
            *SUSTAINED,
            *END_TO_END,
        )
    }.values()
)
