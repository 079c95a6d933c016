"""How many jobs of one function run at a time, on a simulated machine."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from alonzo.engine.growth import LOOK_S, Growth, Machine

TICK_S = 0.01


@dataclass
class Work:
    """What an environment still has to do: compute, then wait. Seconds."""

    compute: float
    wait: float
    cold: bool = False
    began: float = 0.0
    epoch: int = 0


@dataclass
class Simulation:
    """A machine whose processors are shared evenly, and a backlog without end of one function's events."""

    compute: float = 0.0
    wait: float = 0.0
    start_compute: float = 0.0
    start_wait: float = 0.0
    processors: int = 2
    #: Programs beside, that always compute.
    others: int = 0
    most: int = 64
    now: float = 0.0
    idle: float = 0.0
    warm: int = 0
    done: int = 0
    slowest: float = 0.0
    highest: int = 0
    most_starting: int = 0
    running: list[Work] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.growth = Growth(2 * self.processors, self.most, 0.0)
        self.machine = Machine(lambda: sum(work.cold for work in self.running), self.processors, lambda: "")
        self.unused = 0.0

    def run(self, seconds: float) -> float:
        """Jobs done a second, over the time that passes."""
        done, ends = self.done, self.now + seconds
        next_look = self.now + LOOK_S
        while self.now < ends - TICK_S / 2:
            self.tick()
            if self.now >= next_look - TICK_S / 2:
                self.look(self.unused / LOOK_S / self.processors)
                self.unused, next_look = 0.0, self.now + LOOK_S
        return (self.done - done) / seconds

    def look(self, idle: float) -> None:
        room = self.machine.room(idle)
        self.growth.look(self.now, room=room, starting=self.machine.starting(), idle=idle)
        self.highest = max(self.highest, self.growth.limit)

    def tick(self) -> None:
        while len(self.running) < self.growth.limit:
            self.begin()
        self.most_starting = max(self.most_starting, self.machine.starting())
        hungry = [work for work in self.running if work.compute > 0]
        share = min(self.processors * TICK_S / max(len(hungry) + self.others, 1), TICK_S)
        self.unused += self.processors * TICK_S - share * (len(hungry) + self.others)
        self.now += TICK_S
        for work in self.running[:]:
            if work.compute > 0:
                work.compute -= share
            else:
                work.wait -= TICK_S
            if work.compute <= 1e-9 and work.wait <= 1e-9:
                self.end(work)

    def begin(self) -> None:
        if self.warm > 0:
            self.warm -= 1
            self.running.append(Work(self.compute, self.wait, began=self.now, epoch=self.growth.epoch))
        else:
            self.running.append(Work(self.start_compute, self.start_wait, True, self.now, self.growth.epoch))

    def end(self, work: Work) -> None:
        if work.cold:
            work.cold, work.compute, work.wait = False, self.compute, self.wait
            return
        self.running.remove(work)
        self.warm += 1
        self.done += 1
        self.slowest = max(self.slowest, self.now - work.began)
        self.growth.ran(work.epoch, self.now - work.began)


def test_a_slow_start_is_not_multiplied() -> None:
    """A backlog of short events whose environments start slowly: few start at a time, and few are ever made."""
    world = Simulation(compute=0.01, start_compute=0.8)
    world.run(10)
    assert world.most_starting <= 4
    assert world.highest <= 6
    assert world.run(20) > 0.9 * 200  # two processors, 10 ms each


@pytest.mark.parametrize("seconds", [0.03, 0.5, 60.0])
def test_a_function_that_waits_gets_as_many_as_there_are(seconds: float) -> None:
    """Waiting needs no processor: all places within seconds, whether its jobs are short or long."""
    world = Simulation(wait=seconds, start_compute=0.03)
    world.run(8)
    assert world.growth.limit == 64


def test_a_function_that_computes_keeps_few() -> None:
    """More would only make each slower: the number stays within a place of the beginning, and no event takes long."""
    world = Simulation(compute=0.8, start_compute=0.03)
    world.run(5)
    assert world.run(115) > 0.95 * 2.5
    assert world.highest <= 5
    assert world.slowest < 3


def test_it_waits_longer_after_each_trial_that_failed() -> None:
    """Trials of a function that computes become rare: a handful in two minutes."""
    world, trials, before = Simulation(compute=0.05, start_compute=0.03), 0, 4
    for _ in range(1_200):
        world.run(LOOK_S)
        trials += world.growth.limit > before
        before = world.growth.limit
    assert 3 <= trials <= 8


def test_a_busy_machine_does_not_keep_a_function_that_waits_small() -> None:
    """Other programs use every processor: trials find out that more places help all the same."""
    world = Simulation(wait=0.2, start_compute=0.03, others=8)
    world.run(60)
    assert world.growth.limit >= 48


def test_it_comes_down_where_more_do_not_help() -> None:
    """A function that waited and now computes: the number falls to what the processors carry."""
    world = Simulation(wait=0.2, start_compute=0.03)
    world.run(8)
    assert world.growth.limit == 64
    world.compute, world.wait = 0.05, 0.0
    world.run(40)
    assert world.growth.limit <= 8


def test_long_starts_that_wait_are_no_obstacle() -> None:
    """Environments that wait while they start do not use the processors: more of them start, within bounds."""
    world = Simulation(wait=5.0, start_compute=0.03, start_wait=2.0)
    world.run(12)
    assert world.growth.limit == 64
    assert world.most_starting <= 16


def test_a_reservation_bounds_it() -> None:
    """No more places than are reserved, also where fewer are reserved than there were."""
    world = Simulation(wait=1.0, start_compute=0.03, most=3)
    world.run(10)
    assert world.highest == 3
    growth = Growth(4, 64, 0.0)
    growth.bound(2)
    assert growth.limit == 2


def test_only_what_began_with_these_places_counts() -> None:
    """A job that began before the number changed says nothing of the new number."""
    growth = Growth(4, 64, 0.0)
    growth.set(8, 0.0)
    for _ in range(8):
        growth.ran(growth.epoch - 1, 1.0)
    growth.look(0.5, room=4, starting=0, idle=0.0)
    assert growth.limit == 8
    for _ in range(8):
        growth.ran(growth.epoch, 1.0)
    growth.look(0.6, room=4, starting=0, idle=0.0)
    assert growth.limit == 6


def test_the_processors_idle_share() -> None:
    """From /proc/stat, between two looks; unknown (0) at first, after a pause, and where there is no such file."""
    said = ["cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1"]
    machine = Machine(lambda: 3, 2, lambda: said[0])
    assert machine.idle(10.0) == 0.0
    said[0] = "cpu  110 0 105 770 115 0 0 0 9 9\n"
    assert machine.idle(10.05) == 0.0  # too soon to say
    assert machine.idle(10.1) == 0.85
    assert machine.idle(20.0) == 0.0
    said[0] = "cpu"
    assert machine.idle(20.1) == 0.0

    def missing() -> str:
        raise FileNotFoundError

    assert Machine(lambda: 0, 2, missing).idle(1.0) == 0.0
    assert (machine.room(0.0), machine.room(0.5)) == (1, 4)
