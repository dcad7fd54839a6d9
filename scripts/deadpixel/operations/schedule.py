"""How long jobs with dependencies take on several devices: by the engine's rule, and at best."""

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..errors import InputError

_SAME = 1e-6  # relative; more than the solver's tolerances, so that its bounds hold after all
Starts = dict[str, float]  # in seconds, by the names of jobs


@dataclass(frozen=True)
class Job:
    """Work of so many seconds; higher priorities go first, `after` names what must have ended."""

    name: str
    seconds: float
    needs_device: bool  # takes one while it runs; other jobs run at once when ready
    priority: float
    after: tuple[str, ...]


def makespan(jobs: Iterable[Job], starts: Starts) -> float:
    """Seconds until the last job ends; none take 0."""
    return max((starts[job.name] + job.seconds for job in jobs), default=0.0)


def list_schedule(jobs: Sequence[Job], n_devices: int) -> Starts:
    """Starts, earliest first, by Snakemake's rule (Graham 1969).

    Whenever a device is free, the ready job of highest priority starts, ties in the order given.
    Raises `InputError`, as all functions here do, for jobs that can never be done.
    """
    if n_devices < 1 or len({job.name for job in jobs}) < len(jobs):
        raise InputError(
            f"{n_devices} devices: at least one is needed, and jobs of different names"
        )
    if endless := [job.name for job in jobs if not 0 <= job.seconds < math.inf]:
        raise InputError(f"{', '.join(endless)}: give a finite time")
    waiting = sorted(jobs, key=lambda job: -job.priority)
    running: list[tuple[float, int, Job]] = []
    starts, ended, now = Starts(), set[str](), 0.0
    while waiting:
        for job in waiting:
            if ended.issuperset(job.after) and (n_devices or not job.needs_device):
                n_devices -= job.needs_device
                starts[job.name] = now
                heapq.heappush(running, (now + job.seconds, len(starts), job))
        waiting = [job for job in waiting if job.name not in starts]
        if not running:
            raise InputError(f"{waiting[0].name}: waits for unknown jobs, or in a circle")
        now = running[0][0]
        while running and running[0][0] <= now:
            _, _, job = heapq.heappop(running)
            ended.add(job.name)
            n_devices += job.needs_device
    return starts


def longest_chain(jobs: Sequence[Job]) -> float:
    """Seconds of the longest chain of dependent jobs: the makespan if devices were free."""
    return makespan(jobs, list_schedule(jobs, len(jobs) + 1))


def lower_bound(jobs: Sequence[Job], n_devices: int) -> float:
    """Seconds that no schedule undercuts: work per device or longest chain (Graham 1969)."""
    work = math.fsum(job.seconds for job in jobs if job.needs_device)
    return max(work / n_devices, longest_chain(jobs))


def optimum(jobs: Sequence[Job], n_devices: int, seconds: float = 20) -> tuple[Starts, float]:
    """The shortest of three schedules, and a bound on all; the solver gets so many `seconds`.

    The list by priority, that by the longest chain from a job on (Graham 1969) and, where neither
    meets the bound, the better with its jobs on the devices that an integer programme gives them.
    """
    after = {job.name: tuple(j.name for j in jobs if job.name in j.after) for job in jobs}
    heads = list_schedule(jobs, len(jobs) + 1)
    tails = list_schedule([replace(job, after=after[job.name]) for job in jobs], len(jobs) + 1)
    urgent = [replace(job, priority=tails[job.name] + job.seconds) for job in jobs]
    length = partial(makespan, jobs)
    starts = min(list_schedule(jobs, n_devices), list_schedule(urgent, n_devices), key=length)
    bound = lower_bound(jobs, n_devices)
    if length(starts) > bound * (1 + _SAME):
        needy = [job for job in jobs if job.needs_device]
        spare = sum(min(chain[job.name] for job in needy) for chain in (heads, tails))
        device, proven = _assign(needy, n_devices, spare, length(starts), seconds)
        queues = [[name for name in starts if device.get(name) == d] for d in range(n_devices)]
        previous = {two: (one,) for queue in queues for one, two in itertools.pairwise(queue)}
        assigned = [replace(job, after=job.after + previous.get(job.name, ())) for job in jobs]
        starts = min(starts, list_schedule(assigned, n_devices), key=length)
        bound = max(bound, proven)
    return starts, min(bound, length(starts))


def _assign(
    jobs: Sequence[Job], n_devices: int, spare: float, unit: float, seconds: float
) -> tuple[dict[str, int], float]:
    """Devices of jobs, and a bound: a device takes its jobs' time and `spare` before and after."""
    import pulp  # with Snakemake, and only there

    programme, longest = pulp.LpProblem(sense=pulp.LpMinimize), pulp.LpVariable("longest")
    x = pulp.LpVariable.dicts("x", (range(len(jobs)), range(n_devices)), cat="Binary")
    programme += longest
    for d in range(n_devices):
        load = pulp.lpSum(x[number][d] * (job.seconds / unit) for number, job in enumerate(jobs))
        programme += load + spare / unit <= longest  # about 1: the tolerances are absolute
    for number in range(len(jobs)):
        programme += pulp.lpSum(x[number]) == 1
    # no `threads`: asked for one, CBC starts it, and now and then waits 10 s for it
    programme.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=seconds, gapRel=_SAME / 10))
    solved = programme.sol_status == pulp.LpSolutionOptimal
    relaxed = spare + math.fsum(job.seconds for job in jobs) / n_devices
    bound = (longest.value() or 0) * unit if solved else relaxed
    device = {jobs[n].name: d for n in x for d in x[n] if (x[n][d].value() or 0) > 0.5}
    return device, bound * (1 - _SAME)
