"""How long jobs with dependencies take on several devices: by the engine's rule, and at best."""

import heapq
import itertools
import math
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np

from ..errors import InputError

_SAME = 1e-6  # relative; more than the solver's tolerances, so that its bounds hold after all
_UNITS = 1e4  # of the best known makespan in the programme: the solver prints three decimals
_WINDOWS = 4  # in the programme; with more, fewer nodes are searched in the same time
_TRIES = 300


@dataclass(frozen=True)
class Job:
    """Work of so many seconds; higher priorities go first, `after` names what must have ended.

    needs_device: takes one of the devices while it runs; other jobs run at once when ready.
    """

    name: str
    seconds: float
    needs_device: bool
    priority: int
    after: tuple[str, ...]


@dataclass(frozen=True)
class Optimum:
    """Best schedule found: start of each job in seconds, and its makespan in seconds.

    bound: no schedule is shorter; the makespan itself, to a millionth, if that is proven optimal.
    """

    starts: dict[str, float]
    makespan: float
    bound: float


def longest_chain(jobs: Sequence[Job]) -> float:
    """Seconds of the longest chain of dependent jobs: the makespan if devices were free.

    Raises `InputError` if jobs share a name, wait for unknown ones or for each other, or if one's
    seconds are negative or not finite; so do all functions here that take dependencies.
    """
    heads, _ = _chains(jobs)
    return makespan(jobs, heads)


def lower_bound(jobs: Sequence[Job], n_devices: int) -> float:
    """Seconds that no schedule undercuts: work per device or longest chain (Graham 1969).

    Raises `InputError` as `longest_chain` does, and without any device.
    """
    _check_devices(n_devices)
    chain = longest_chain(jobs)
    work = math.fsum(job.seconds for job in jobs if job.needs_device)
    return max(work / n_devices, chain)


def makespan(jobs: Iterable[Job], starts: Mapping[str, float]) -> float:
    """Seconds until the last job ends; none take 0."""
    return max((starts[job.name] + job.seconds for job in jobs), default=0.0)


def list_schedule(jobs: Sequence[Job], n_devices: int) -> dict[str, float]:
    """Start of each job in seconds, by Snakemake's rule: list scheduling (Graham 1969).

    Whenever a device is free, the ready job of highest priority starts, ties in the order given.
    Raises `InputError` as `lower_bound` does.
    """
    _check_devices(n_devices)
    _chains(jobs)
    return _dispatch(jobs, {job.name: job.priority for job in jobs}, [n_devices], {})


def optimum(jobs: Sequence[Job], n_devices: int, *, seconds: float = 20.0) -> Optimum:
    """Shortest schedule that is found, and a bound on all; the solver gets so many `seconds`.

    Never longer than `list_schedule`. Lists are tried in other orders, first by the longest chain
    from a job on (Graham 1969). Unless one meets the bound, an integer programme assigns jobs to
    devices and raises the bound. Schedules where a free device waits for a job that is not ready,
    though others are, are not looked at, but the bound holds for them too. Raises `InputError` as
    `lower_bound` does.
    """
    starts = list_schedule(jobs, n_devices)
    heads, tails = _chains(jobs)
    windows = _windows([job for job in jobs if job.needs_device], heads, tails)
    bound = lower_bound(jobs, n_devices)
    bound = max([bound, *(window.spare + window.work / n_devices for window in windows)])
    urgency = {job.name: job.seconds + tails[job.name] for job in jobs}
    searched = _search(jobs, urgency, [n_devices], {}, bound)
    starts = min(starts, searched, key=partial(makespan, jobs))
    if makespan(jobs, starts) > bound * (1 + _SAME):
        windows = heapq.nlargest(_WINDOWS, windows, key=lambda w: w.spare + w.work / n_devices)
        limits = bound, makespan(jobs, starts)
        device, bound = _assign(jobs, n_devices, windows, limits, seconds)
        assigned = _search(jobs, urgency, [1] * n_devices, device, bound)
        starts = min(starts, assigned, key=partial(makespan, jobs))
    length = makespan(jobs, starts)
    return Optimum(starts, length, min(bound, length))


def _check_devices(n_devices: int) -> None:
    if n_devices < 1:
        raise InputError(f"n_devices: {n_devices}; at least one is needed")


def _chains(jobs: Sequence[Job]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the longest chain before each job starts, and after it has ended."""
    named = {job.name: job for job in jobs}
    if len(named) < len(jobs):
        raise InputError("jobs: some have the same name")
    for job in jobs:
        if not 0 <= job.seconds < math.inf:
            raise InputError(f"{job.name}: takes {job.seconds} s; give a finite time")
        if unknown := set(job.after) - named.keys():
            raise InputError(f"{job.name}: waits for unknown jobs: {', '.join(sorted(unknown))}")
    try:
        order = list(TopologicalSorter({job.name: job.after for job in jobs}).static_order())
    except CycleError as error:
        raise InputError(f"jobs wait for each other: {', '.join(error.args[1])}") from error
    heads, tails = dict.fromkeys(order, 0.0), dict.fromkeys(order, 0.0)
    for name in order:
        for before in named[name].after:
            heads[name] = max(heads[name], heads[before] + named[before].seconds)
    for name in reversed(order):
        for before in named[name].after:
            tails[before] = max(tails[before], named[name].seconds + tails[name])
    return heads, tails


def _dispatch(
    jobs: Sequence[Job], rank: Mapping[str, float], free: Sequence[int], pool: Mapping[str, int]
) -> dict[str, float]:
    """Starts if jobs of highest rank go first on the `free` devices of their pool (0 if none)."""
    free = list(free)
    waiting = sorted(jobs, key=lambda job: -rank[job.name])
    running: list[tuple[float, int, Job]] = []
    starts: dict[str, float] = {}
    ended: set[str] = set()
    now = 0.0
    while waiting:
        for job in waiting:
            own = pool.get(job.name, 0)
            if ended.issuperset(job.after) and (free[own] or not job.needs_device):
                free[own] -= job.needs_device
                starts[job.name] = now
                heapq.heappush(running, (now + job.seconds, len(starts), job))
        waiting = [job for job in waiting if job.name not in starts]
        now = running[0][0] if running else now
        while running and running[0][0] <= now:
            _, _, job = heapq.heappop(running)
            ended.add(job.name)
            free[pool.get(job.name, 0)] += job.needs_device
    return starts


def _search(
    jobs: Sequence[Job],
    urgency: Mapping[str, float],
    free: Sequence[int],
    pool: Mapping[str, int],
    bound: float,
) -> dict[str, float]:
    """`_dispatch` by urgency, improved by seeded random changes until the `bound` is met."""
    rng = np.random.default_rng(0)
    names = list(urgency)
    best = np.array([urgency[name] for name in names])
    starts = _dispatch(jobs, urgency, free, pool)
    length = makespan(jobs, starts)
    for _ in range(_TRIES):
        if length <= bound * (1 + _SAME):
            break
        tried = best.copy()
        tried[rng.integers(len(names), size=3)] *= rng.lognormal(0, 0.1, 3)
        found = _dispatch(jobs, dict(zip(names, tried, strict=True)), free, pool)
        if makespan(jobs, found) <= length:
            best, starts, length = tried, found, makespan(jobs, found)
    return starts


@dataclass(frozen=True)
class _Window:
    """Jobs of `work` seconds in all, with `spare` seconds before the first and after the last."""

    jobs: frozenset[str]
    spare: float
    work: float


def _windows(
    jobs: Sequence[Job], heads: Mapping[str, float], tails: Mapping[str, float]
) -> list[_Window]:
    """Of the jobs that start no sooner and end no later than some two; of the same jobs once."""
    windows = {}
    for late in {heads[job.name] for job in jobs}:
        for early in {tails[job.name] for job in jobs}:
            inside = [job for job in jobs if heads[job.name] >= late and tails[job.name] >= early]
            names = frozenset(job.name for job in inside)
            if names and names not in windows:
                spare = min(heads[name] for name in names) + min(tails[name] for name in names)
                windows[names] = _Window(names, spare, math.fsum(job.seconds for job in inside))
    return list(windows.values())


def _assign(
    jobs: Sequence[Job],
    n_devices: int,
    windows: Sequence[_Window],
    limits: tuple[float, float],
    seconds: float,
) -> tuple[dict[str, int], float]:
    """Device of each device job by an integer programme, and the bound that it proves.

    It relaxes the order: a device works off its jobs of a window in the makespan less `spare`.
    limits: a bound and a makespan that are known.
    """
    import pulp  # with Snakemake, and only there

    low, high = limits
    unit = high / _UNITS
    longest = pulp.LpVariable("makespan", low / unit, _UNITS * (1 + _SAME))
    programme = pulp.LpProblem("assignment", pulp.LpMinimize)
    programme += longest
    longest_first = sorted((j for j in jobs if j.needs_device), key=lambda job: -job.seconds)
    shares: dict[str, list[pulp.LpVariable]] = {}
    for number, job in enumerate(longest_first):
        # any device will do: the first job goes to the first, the next to the first or second ...
        devices = range(min(number + 1, n_devices))
        shares[job.name] = [pulp.LpVariable(f"x{number}_{d}", cat="Binary") for d in devices]
        programme += pulp.lpSum(shares[job.name]) == 1
    for window, device in itertools.product(windows, range(n_devices)):
        own = [job for job in longest_first[device:] if job.name in window.jobs]
        work = [shares[job.name][device] * (job.seconds / unit) for job in own]
        programme += pulp.lpSum(work) + window.spare / unit <= longest
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")  # the bound of an unfinished search stands nowhere else
        # no `threads`: asked for one, CBC starts it, and now and then waits 10 s for it
        settings = {"msg": False, "timeLimit": seconds, "gapRel": _SAME / 10}
        programme.solve(pulp.PULP_CBC_CMD(logPath=log, **settings))
        printed = re.findall(r"^Lower bound: +(\S+)", log.read_text(), re.MULTILINE)
    proven = [longest.value()] if programme.sol_status == pulp.LpSolutionOptimal else []
    proven += [float(value) for value in printed]
    bound = max(low, min(proven, default=0.0) * unit * (1 - _SAME))
    chosen = {
        name: max(range(len(row)), key=lambda device: row[device].value())
        for name, row in shares.items()
    }
    return chosen, bound
