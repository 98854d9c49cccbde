"""Recovery: from the SIGKILL of a child in a step to that step running again elsewhere.

The time begins before the system call that kills, so it includes what the kernel takes to end
the process. It ends with the step's first line in another process. Each kill is of another run,
so that no run reaches ``--max-crashes``. Quantiles are those of all kills together; the spread is
that of the repetitions.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.environment import environment
from benchmarks.figures import Figure
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import recovery_probe
from owsuper.cli.bench import quantile

NAME = "recovery: SIGKILL in a step to that step running elsewhere"


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    # The worker's log would report each killed child.
    with (
        recovery_probe() as probe,
        environment(server) as env,
        env.worker(2, 1, log_level="critical"),
    ):
        repetitions = [
            [probe.seconds(env.client) * 1e3 for _ in range(sizes.kills)]
            for _ in range(sizes.repetitions)
        ]
    together = [each for repetition in repetitions for each in repetition]
    return [
        Figure(
            f"recovery.p{percent}",
            f"{NAME}, p{percent}",
            "ms",
            values,
            1,
            middle=quantile(together, percent / 100),
        )
        for percent in (50, 99)
        for values in [tuple(quantile(each, percent / 100) for each in repetitions)]
    ]
