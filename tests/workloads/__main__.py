"""Runs random workloads: ``python -m tests.workloads --seeds 2000``, or one with its SQL: ``--seed 17``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback

import structlog

from tests.workloads.workload import run_workload


def main() -> int:
    parser = argparse.ArgumentParser(prog="workloads", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="where to begin")
    parser.add_argument("--seed", type=int, help="one seed, with its SQL")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if arguments.seed is not None:
        run_workload(arguments.seed, _say)
        _say(f"-- seed {arguments.seed} holds")
        return 0
    failed: list[int] = []
    began = time.process_time()
    done = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        done += 1
        try:
            run_workload(seed)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the seed is told and the others run
            failed.append(seed)
            _say(f"seed {seed}: {type(error).__name__}: {error}"[:300])
            if len(failed) == 1:
                traceback.print_exception(error)
        if done % 1000 == 0:
            _say(f"{done} done, {len(failed)} failed")
    seconds = time.process_time() - began
    _say(
        f"{done - len(failed)}/{done} workloads hold; {seconds:.1f} s of CPU, "
        f"{1000 * seconds / done:.1f} ms a workload"
    )
    if failed:
        _say(f"see one with its SQL: python -m tests.workloads --seed {failed[0]}")
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
