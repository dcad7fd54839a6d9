"""Schedules are feasible, and no better ones exist than those said to be optimal."""

import itertools
import math
import random

import pytest

from deadpixel.errors import InputError
from deadpixel.operations.schedule import (
    Job,
    list_schedule,
    longest_chain,
    lower_bound,
    makespan,
    optimum,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*PuLP 4.0:DeprecationWarning")

ROUNDING = 1e-5  # relative: what counts as proven


def job(name, seconds, *after, needs_device=True, priority=0):
    return Job(name, seconds, needs_device, priority, after)


def plain(*seconds):
    return [job(f"job {number}", float(own)) for number, own in enumerate(seconds)]


def drawn(seed, most_on_devices=6, most_elsewhere=3):
    """Jobs that wait for some of those before them, in an order that does not show it."""
    rng = random.Random(seed)
    needs = [True] * rng.randint(1, most_on_devices) + [False] * rng.randint(0, most_elsewhere)
    rng.shuffle(needs)
    jobs = []
    for number, needs_device in enumerate(needs):
        after = rng.sample([before.name for before in jobs], min(number, rng.choice([0, 0, 1, 2])))
        seconds, priority = float(rng.randint(0, 20)), rng.randint(0, 2)
        jobs.append(Job(f"job {number}", seconds, needs_device, priority, tuple(after)))
    rng.shuffle(jobs)
    return jobs


def assert_feasible(jobs, starts, n_devices):
    assert starts.keys() == {job.name for job in jobs}
    assert all(start >= 0 for start in starts.values())
    ends = {job.name: starts[job.name] + job.seconds for job in jobs}
    for each in jobs:
        assert all(ends[before] <= starts[each.name] for before in each.after), each
        running = [
            other.name
            for other in jobs
            if other.needs_device and starts[other.name] <= starts[each.name] < ends[other.name]
        ]
        assert len(running) <= n_devices, running


def shortest(jobs, n_devices):
    """Least makespan over every order in which devices can be given to jobs."""
    named = {job.name: job for job in jobs}
    orders = itertools.permutations(job.name for job in jobs if job.needs_device)
    return min(_serial(named, order, n_devices) for order in orders)


def _serial(named, order, n_devices):
    ends, free = {}, [0.0] * n_devices

    def ready(name):
        return max((end(before) for before in named[name].after), default=0.0)

    def end(name):
        if name not in ends and named[name].needs_device:
            return math.inf  # a device is given to it only later: not an order
        return ends.get(name, ready(name) + named[name].seconds)

    for name in order:
        ends[name] = max(ready(name), free[0]) + named[name].seconds
        free = sorted([*free[1:], ends[name]])
    return max(map(end, named))


def test_optimum_against_every_order():
    proven = 0
    for seed in range(40):
        jobs, n_devices = drawn(seed), 1 + seed % 3
        listed, (starts, bound) = list_schedule(jobs, n_devices), optimum(jobs, n_devices)
        assert_feasible(jobs, listed, n_devices)
        assert_feasible(jobs, starts, n_devices)
        best, least = makespan(jobs, starts), shortest(jobs, n_devices)
        assert best <= makespan(jobs, listed)
        assert lower_bound(jobs, n_devices) <= bound <= least <= best
        if best <= bound * (1 + ROUNDING):
            proven += 1
            assert best == least
    assert proven >= 30, "most small instances are solved"


@pytest.mark.parametrize("n_devices", [1, 2, 4])
def test_bounds_and_schedules_of_more_jobs(n_devices):
    jobs = drawn(1, 25, 10)
    listed, (starts, bound) = list_schedule(jobs, n_devices), optimum(jobs, n_devices, 0.2)
    assert_feasible(jobs, listed, n_devices)
    assert_feasible(jobs, starts, n_devices)
    assert bound <= makespan(jobs, starts) <= makespan(jobs, listed)
    assert lower_bound(jobs, n_devices) <= bound
    assert optimum(jobs, n_devices, 0.2) == (starts, bound), "same jobs, same schedule"


@pytest.mark.parametrize(
    ("jobs", "n_devices", "listed", "least"),
    [
        # the long jobs come last, and one of them waits for a device
        (plain(2, 2, 2, 3, 3), 2, 7, 6),
        # longest first takes up to 4/3 - 1/(3m) of the optimum on m devices
        (plain(5, 5, 4, 4, 3, 3, 3), 3, 11, 9),
        # work per device is 15, and no device starts sooner than 1
        ([job("unpack", 1, needs_device=False), *(job(x, 10, "unpack") for x in "abc")], 2, 21, 21),
        (plain(3, 1, 2), 1, 6, 6),
    ],
)
def test_the_optimum_where_it_is_known(jobs, n_devices, listed, least):
    """Graham's examples (1969), and what only the integer programme finds or proves."""
    starts, bound = optimum(jobs, n_devices)
    assert makespan(jobs, list_schedule(jobs, n_devices)) == listed
    assert makespan(jobs, starts) == least and bound == pytest.approx(least, rel=ROUNDING)


def test_a_solver_without_time_still_gives_a_schedule_and_a_bound():
    jobs = plain(10, 10, 10)
    starts, bound = optimum(jobs, 2, seconds=0)
    assert makespan(jobs, starts) == 20 and 15 * (1 - ROUNDING) <= bound <= 20


def test_list_schedule_prefers_priority_then_the_order_given():
    jobs = [job("a", 2.0), job("b", 2.0, priority=1), job("c", 2.0), job("d", 1.0, priority=1)]
    assert list_schedule(jobs, 1) == {"b": 0, "d": 2, "a": 3, "c": 5}


def test_list_schedule_does_not_wait_for_what_is_urgent_but_not_ready():
    jobs = [
        job("unpack", 1.0, needs_device=False),
        job("urgent", 5.0, "unpack", priority=9),
        job("idle", 4.0),
        job("table", 1.0, "urgent", needs_device=False),
    ]
    assert list_schedule(jobs, 1) == {"unpack": 0, "idle": 0, "urgent": 4, "table": 9}


def test_all_that_end_at_once_are_counted_before_the_next_starts():
    jobs = [job("a", 2.0), job("b", 2.0, needs_device=False), job("idle", 1.0)]
    jobs.append(job("urgent", 1.0, "b", priority=1))
    assert list_schedule(jobs, 1) == {"a": 0, "b": 0, "urgent": 2, "idle": 3}


def test_longest_chain_and_lower_bound():
    jobs = [
        job("a", 2.0),
        job("b", 3.0, "a"),
        job("c", 4.0, "a", needs_device=False),
        job("d", 5.0),
    ]
    assert longest_chain(jobs) == 6
    assert (lower_bound(jobs, 1), lower_bound(jobs, 2)) == (10, 6)


def test_no_jobs_take_no_time_and_some_no_device():
    assert longest_chain([]) == lower_bound([], 3) == makespan([], {}) == 0
    assert optimum([], 1) == (list_schedule([], 3), 0) == ({}, 0)
    jobs = [job(name, 2.0, needs_device=False) for name in "abc"]
    jobs.append(job("d", 1.0, "a", needs_device=False))
    assert optimum(jobs, 1) == ({"a": 0, "b": 0, "c": 0, "d": 2}, 3)


@pytest.mark.parametrize(
    ("jobs", "n_devices", "message"),
    [
        ([job("a", 1.0, "b"), job("b", 1.0, "a")], 1, "a: waits for unknown jobs, or in a circle"),
        ([job("a", 1.0), job("b", 1.0, "a", "c")], 1, "b: waits for unknown jobs"),
        ([job("a", 1.0), job("a", 2.0)], 1, "different names"),
        ([job("a", -1.0)], 1, "a: give a finite time"),
        ([job("a", math.nan)], 1, "a: give a finite time"),
        ([job("a", 1.0)], 0, "0 devices: at least one is needed"),
    ],
)
def test_jobs_that_can_never_be_done(jobs, n_devices, message):
    for function in (list_schedule, optimum):
        with pytest.raises(InputError, match=message):
            function(jobs, n_devices)
