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


@pytest.mark.parametrize("seed", range(40))
def test_optimum_against_every_order(seed):
    jobs, n_devices = drawn(seed), 1 + seed % 3
    listed, best = list_schedule(jobs, n_devices), optimum(jobs, n_devices)
    assert_feasible(jobs, listed, n_devices)
    assert_feasible(jobs, best.starts, n_devices)
    assert best.makespan == makespan(jobs, best.starts) <= makespan(jobs, listed)
    least = shortest(jobs, n_devices)
    assert lower_bound(jobs, n_devices) <= best.bound <= least <= best.makespan
    if best.makespan <= best.bound * (1 + ROUNDING):
        assert best.makespan == least


def test_most_small_instances_are_solved():
    found = [optimum(drawn(seed), 2) for seed in range(0, 40, 2)]
    assert sum(best.makespan <= best.bound * (1 + ROUNDING) for best in found) >= 15


@pytest.mark.parametrize("n_devices", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_bounds_and_schedules_of_more_jobs(seed, n_devices):
    jobs = drawn(seed, 25, 10)
    listed, best = list_schedule(jobs, n_devices), optimum(jobs, n_devices, seconds=0.2)
    assert_feasible(jobs, listed, n_devices)
    assert_feasible(jobs, best.starts, n_devices)
    assert lower_bound(jobs, n_devices) <= best.bound <= best.makespan <= makespan(jobs, listed)


def test_a_list_in_a_bad_order_is_longer_than_the_optimum():
    """Graham's: the long jobs come last, and one of them waits for a device."""
    jobs = plain(2, 2, 2, 3, 3)
    best = optimum(jobs, 2)
    assert makespan(jobs, list_schedule(jobs, 2)) == 7
    assert best.makespan == 6 and best.bound == pytest.approx(6)


def test_longest_first_is_not_always_the_optimum():
    """On m devices it takes up to 4/3 - 1/(3m) of it (Graham 1969): here 11 instead of 9."""
    jobs = plain(5, 5, 4, 4, 3, 3, 3)
    best = optimum(jobs, 3)
    assert makespan(jobs, list_schedule(jobs, 3)) == 11
    assert best.makespan == 9 and best.bound == pytest.approx(9)


def test_the_programme_proves_what_work_per_device_does_not():
    """Three equal jobs on two devices: two must share one."""
    jobs = [job("unpack", 1.0, needs_device=False)]
    jobs += [job(name, 10.0, "unpack") for name in "abc"]
    best = optimum(jobs, 2)
    assert lower_bound(jobs, 2) == 15
    assert best.makespan == 21 and best.bound == pytest.approx(21, rel=ROUNDING)


def test_a_solver_without_time_still_gives_a_schedule_and_a_bound():
    best = optimum(plain(10, 10, 10), 2, seconds=0)
    assert best.makespan == 20 and 15 <= best.bound <= 20


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
    assert optimum(jobs, 1).makespan == makespan(jobs, list_schedule(jobs, 1)) == 10


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
    assert lower_bound(jobs, 1) == 10
    assert lower_bound(jobs, 2) == 6


def test_one_device_works_without_a_break():
    best = optimum(plain(3, 1, 2), 1)
    assert best.makespan == best.bound == 6


@pytest.mark.parametrize("n_devices", [1, 3])
def test_no_jobs_take_no_time(n_devices):
    assert longest_chain([]) == lower_bound([], n_devices) == makespan([], {}) == 0
    assert list_schedule([], n_devices) == {}
    assert optimum([], n_devices).makespan == optimum([], n_devices).bound == 0


def test_jobs_that_need_no_device_take_their_longest_chain():
    jobs = [job(name, 2.0, needs_device=False) for name in "abc"]
    jobs.append(job("d", 1.0, "a", needs_device=False))
    best = optimum(jobs, 1)
    assert best.starts == {"a": 0, "b": 0, "c": 0, "d": 2}
    assert best.makespan == best.bound == longest_chain(jobs) == 3


def test_same_jobs_same_schedule():
    jobs = drawn(7, 12, 4)
    assert optimum(jobs, 3) == optimum(jobs, 3)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([job("a", 1.0, "b"), job("b", 1.0, "a")], "wait for each other"),
        ([job("a", 1.0, "a")], "wait for each other"),
        ([job("a", 1.0, "b", "c")], "a: waits for unknown jobs: b, c"),
        ([job("a", 1.0), job("a", 2.0)], "same name"),
        ([job("a", -1.0)], "a: takes -1.0 s"),
        ([job("a", math.nan)], "a: takes nan s"),
    ],
)
def test_jobs_that_can_never_be_done(jobs, message):
    for function in (lower_bound, list_schedule, optimum):
        with pytest.raises(InputError, match=message):
            function(jobs, 1)
    with pytest.raises(InputError, match=message):
        longest_chain(jobs)


@pytest.mark.parametrize("function", [lower_bound, list_schedule, optimum])
def test_without_a_device_nothing_is_scheduled(function):
    with pytest.raises(InputError, match="at least one"):
        function(plain(1), 0)
