"""The soak: workers under load and faults, for minutes or hours; see CONTRIBUTING.md.

    make soak ARGS="--minutes 60"
    make soak ARGS="--seed 7 --minutes 1 --faults kill-supervisor,cut-network"

It goes on in rounds of at most a minute, each with new tables and workers and with a seed of its
own: the first with ``--seed``, each of the others with the next number. A round lets faults happen,
heals them, waits until all runs have ended, and compares what the steps did with what is stored. So
``--seed N --minutes 1`` repeats the round of seed N: the same faults at the same times, though not
the same interleaving of processes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.acceptance.tables import Tables
from tests.fixtures.cluster import Server, find_binaries
from tests.soak.faults import FAULTS, Fault, NotPossible
from tests.soak.load import Load
from tests.soak.target import Target, running_server, running_target
from tests.soak.verdict import judge, repeats, settle

ROUND = 45.0  # seconds with faults; settling comes on top
SETTLING = 15.0  # seconds that settling takes, about
FIRST = 2.0  # seconds of a round before the first fault
PAUSE = (0.1, 1.5)  # seconds between two faults
HOLD = (0.05, 3.0)  # seconds until a fault is healed
TOGETHER = 0.35  # probability that a second fault strikes while the first one lasts


@dataclass(frozen=True)
class Strike:
    """One or two faults that last together. Times are in seconds."""

    pause: float
    hold: float
    faults: tuple[tuple[str, int], ...]  # with the seed of each

    def __str__(self) -> str:
        return f"{' + '.join(name for name, _ in self.faults)} for {self.hold:.1f} s"


def plan(rng: random.Random, names: Sequence[str]) -> Strike:
    chosen = rng.choices(names, k=2 if rng.random() < TOGETHER else 1)
    return Strike(
        rng.uniform(*PAUSE),
        rng.uniform(*HOLD),
        tuple((name, rng.getrandbits(32)) for name in dict.fromkeys(chosen)),
    )


class Round:
    """One round, against tables and workers of its own."""

    def __init__(self, target: Target, seed: int, names: Sequence[str]) -> None:
        self.struck: Counter[str] = Counter()
        self._target = target
        self._rng = random.Random(seed)
        self._names = list(names)
        deployment = target.deployment
        tables = Tables(deployment.conninfo, deployment.schema)
        self._load = Load(tables, random.Random(seed + 1))

    def run(self, seconds: float) -> list[str]:
        """Returns what went wrong, in words."""
        began = time.monotonic()
        self._load.start()
        time.sleep(FIRST)
        try:
            while time.monotonic() < began + seconds:
                strike = plan(self._rng, self._names)
                time.sleep(strike.pause)
                print(f"  {time.monotonic() - began:5.1f} s  {strike}", flush=True)
                self._strike(strike)
                self._target.keep_workers()
        finally:
            self._load.stop()
        self._target.keep_workers()
        deployment = self._target.deployment
        found = settle(deployment) or judge(deployment, self._load)
        self._target.stop_workers()
        executions, again = repeats(deployment)
        lines = [worker.log.count("\n") for worker in self._target.all_workers]
        print(
            f"  {self._load.count} runs, {executions} executions of steps, {again} of them"
            f" repeated; {self.struck.total()} faults; {len(lines)} workers, which logged"
            f" {sum(lines)} lines, one of them {max(lines)}; {time.monotonic() - began:.0f} s",
            flush=True,
        )
        return [*found, *self._target.violations]

    def _strike(self, strike: Strike) -> None:
        with ExitStack() as stack:
            for name, seed in strike.faults:
                fault: Fault = FAULTS[name]
                try:
                    stack.enter_context(fault(self._target, random.Random(seed)))
                except NotPossible as reason:
                    print(f"  left out from now on: {name}: {reason}", flush=True)
                    self._names.remove(name)
                    continue
                self.struck[name] += 1
            time.sleep(strike.hold)


def run_rounds(server: Server, arguments: argparse.Namespace) -> int:
    """Run rounds until the time is up or one of them fails. Returns the exit code."""
    until = time.monotonic() + arguments.minutes * 60
    seed, struck = arguments.seed, Counter[str]()
    while True:
        seconds = min(ROUND, until - time.monotonic() - SETTLING)
        print(f"round with seed {seed}", flush=True)
        with running_target(server) as target:
            this = Round(target, seed, arguments.faults)
            found = this.run(max(seconds, ROUND / 3))
            struck += this.struck
            if found:
                print_failure(target, seed, found)
                return 1
        if time.monotonic() + ROUND / 3 + SETTLING > until:
            break
        seed += 1
    print(f"faults: {', '.join(f'{name} {count}' for name, count in struck.most_common())}")
    print("passed: nothing was lost, and nothing was repeated once it was committed")
    return 0


def print_failure(target: Target, seed: int, found: Sequence[str]) -> None:
    for number, worker in enumerate(target.all_workers, 1):
        print(f"--- log of worker {number} ({worker.pid}):\n{worker.log[-20_000:]}")
    print(f"--- FAILED; --seed {seed} repeats this round")
    for each in found:
        print(f"* {each}")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description="Attack workers under load.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, about")
    parser.add_argument("--seed", type=int, help="of the first round; random if not given")
    parser.add_argument(
        "--faults",
        type=lambda text: text.split(","),
        default=list(FAULTS),
        help=f"the faults to choose from: {', '.join(FAULTS)}",
    )
    parser.add_argument("--postgres", help="directory of PostgreSQL's programs, or 'embedded'")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.faults) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1_000_000)
    return arguments


def main() -> int:
    """Run the soak; return 1 if a round failed."""
    arguments = parse_arguments()
    binaries = find_binaries(arguments.postgres)
    if binaries is None:
        print("no PostgreSQL programs: see --postgres", file=sys.stderr)
        return 2
    with running_server(binaries) as server:
        return run_rounds(server, arguments)


if __name__ == "__main__":
    sys.exit(main())
