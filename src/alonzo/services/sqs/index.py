"""What memory knows of a queue's messages: which can be received, which are hidden and until when.

Bodies stay on disk, and so does what lies beyond the window: a deep queue costs memory for its head only. Every message
that was received, and every one that is hidden, has an `Entry`; a number without one was never received.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from enum import Enum

from alonzo.services.sqs.models import FIFO_WINDOW
from alonzo.services.sqs.store import Held, Survey

#: Visible messages of a standard queue that are indexed; more are found on disk when half of them are gone.
STANDARD_WINDOW = 20_000
#: Ends of timeouts that may be remembered in vain.
_SLACK = 1_000
#: Rows read at a time.
REFILL = 2_000


class State(Enum):
    READY = 0
    DELAYED = 1
    IN_FLIGHT = 2


class Group:
    """A FIFO queue's message group. While one of its messages is in flight, no other can be received."""

    __slots__ = ("delayed", "in_flight", "name", "offered", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: list[int] = []
        self.in_flight = 0
        self.delayed = 0
        self.offered = False


class Entry:
    """A message that was received, or is hidden. Times are milliseconds of the epoch; `due_ms` 0: not hidden."""

    __slots__ = ("count", "due_ms", "first_ms", "gone", "group", "receipt", "seq", "started_ms", "state")

    def __init__(self, seq: int, group: Group | None, held: Held | None = None) -> None:
        self.seq = seq
        self.group = group
        self.state = State.READY
        self.due_ms = held.visible_ms if held else 0
        self.count = held.receives if held else 0
        self.first_ms = held.first_ms if held else 0
        self.receipt = held.receipt if held else 0
        self.started_ms = 0
        self.gone = False

    def held(self) -> Held:
        return Held(self.seq, self.due_ms, self.count, self.first_ms, self.receipt, None)


class Index:
    """A queue's messages by what can be done with them. Subclasses say in which order they are given."""

    window = STANDARD_WINDOW

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self._timed: list[tuple[int, int]] = []
        self.total = 0
        self.in_flight = 0
        self.delayed = 0
        #: No message was sent before this time.
        self.oldest_ms = 0
        #: Everything up to here is indexed; beyond it may be rows that are not, if `tail`.
        self.cursor = 0
        self.tail = False
        self._counted = 0

    # -- filling ------------------------------------------------------------------------------------------------------

    def open(self, survey: Survey, hidden: Iterable[Held]) -> None:
        """Start from what is on disk; call `refill` next."""
        self.total, self.oldest_ms, self._counted = survey
        self.tail = survey.total > 0
        for held in hidden:
            self._hide(self._entry(held), State.IN_FLIGHT if held.receives else State.DELAYED, held.visible_ms)

    def add(self, seq: int, group_id: str | None, visible_ms: int, sent_ms: int, now_ms: int, count: int = 0) -> None:
        """A message was written. `count` is how often it was received in the queue that it came from."""
        if seq <= self._counted:
            return  # `open` found it on disk before its writer could tell
        if self.total == 0 or sent_ms < self.oldest_ms:
            self.oldest_ms = sent_ms
        self.total += 1
        if seq <= self.cursor:
            return  # `refill` found it
        if visible_ms > now_ms:
            self._hide(self._entry(Held(seq, visible_ms, count, 0, 0, group_id)), State.DELAYED, visible_ms)
        elif self.tail or self.indexed >= self.window:
            self.tail = True
            return
        elif count:
            self._offer_entry(self._entry(Held(seq, 0, count, 0, 0, group_id)))
        else:
            self._offer_new(seq, group_id)
        if not self.tail:
            self.cursor = seq

    def refill(self, found: list[Held], limit: int, now_ms: int) -> None:
        """Index the rows that follow the cursor."""
        for held in found:
            self.cursor = held.seq
            if held.seq in self.entries:
                continue
            if held.visible_ms > now_ms:
                state = State.IN_FLIGHT if held.receives else State.DELAYED
                self._hide(self._entry(held), state, held.visible_ms)
            elif held.receives:
                self._offer_entry(self._entry(held))
            else:
                self._offer_new(held.seq, held.group_id)
        self.tail = len(found) == limit

    @property
    def wants_refill(self) -> bool:
        return self.tail and self.indexed < self.window // 2

    def _entry(self, held: Held) -> Entry:
        entry = self.entries[held.seq] = Entry(held.seq, self._group(held.group_id), held)
        return entry

    # -- receiving ----------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> int:
        """Offer what is no longer hidden; how many."""
        found = 0
        timed = self._timed
        while timed and timed[0][0] <= now_ms:
            due_ms, seq = heapq.heappop(timed)
            entry = self.entries.get(seq)
            if entry is None or entry.due_ms != due_ms or entry.state is State.READY:
                continue
            self._unhide(entry)
            entry.due_ms = 0
            self._offer_entry(entry)
            found += 1
        return found

    @property
    def next_due_ms(self) -> int | None:
        """When the next message may become visible; None: never."""
        timed = self._timed
        while timed:
            entry = self.entries.get(timed[0][1])
            if entry is not None and entry.due_ms == timed[0][0] and entry.state is not State.READY:
                return timed[0][0]
            heapq.heappop(timed)
        return None

    def take(self, limit: int) -> list[Entry]:
        """Up to `limit` messages, in flight from now on; each needs `hide`, `remove` or `give_back`."""
        raise NotImplementedError

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Undo `take`."""
        for entry in entries:
            self._unhide(entry)
            self._offer_entry(entry)

    def hide(self, entry: Entry, until_ms: int) -> None:
        """Set until when a message in flight is hidden; in the past: until the next `tick`."""
        entry.due_ms = until_ms
        heapq.heappush(self._timed, (until_ms, entry.seq))
        if len(self._timed) > _SLACK + 4 * len(self.entries):
            # What was deleted long before its timeout must not pile up until then.
            self._timed = [(e.due_ms, e.seq) for e in self.entries.values() if e.state is not State.READY and e.due_ms]
            heapq.heapify(self._timed)

    def remove(self, seq: int) -> None:
        """A message is gone from the queue."""
        entry = self.entries.pop(seq, None)
        if entry is None:
            return
        entry.gone = True
        self.total -= 1
        if entry.state is not State.READY:
            self._unhide(entry)
            self._free(entry)

    def forget(self, seqs: Iterable[int]) -> None:
        """Messages are gone that may have no entry."""
        raise NotImplementedError

    @property
    def visible(self) -> int:
        return max(0, self.total - self.in_flight - self.delayed)

    @property
    def indexed(self) -> int:
        """How many visible messages are at hand."""
        raise NotImplementedError

    # -- inner --------------------------------------------------------------------------------------------------------

    def _hide(self, entry: Entry, state: State, until_ms: int) -> None:
        entry.state = state
        if state is State.DELAYED:
            self.delayed += 1
            if entry.group is not None:
                entry.group.delayed += 1
        else:
            self.in_flight += 1
            if entry.group is not None:
                entry.group.in_flight += 1
        if until_ms:
            self.hide(entry, until_ms)

    def _unhide(self, entry: Entry) -> None:
        if entry.state is State.DELAYED:
            self.delayed -= 1
            if entry.group is not None:
                entry.group.delayed -= 1
        else:
            self.in_flight -= 1
            if entry.group is not None:
                entry.group.in_flight -= 1
        entry.state = State.READY

    def _group(self, name: str | None) -> Group | None:
        return None

    def _free(self, entry: Entry) -> None:
        """Nothing hides behind `entry` any more."""

    def _offer_new(self, seq: int, group_id: str | None) -> None:
        raise NotImplementedError

    def _offer_entry(self, entry: Entry) -> None:
        raise NotImplementedError


class StandardIndex(Index):
    """Oldest first, as far as that goes."""

    def __init__(self) -> None:
        super().__init__()
        self._fresh: deque[int] = deque()
        self._returned: list[int] = []

    @property
    def indexed(self) -> int:
        return len(self._fresh) + len(self._returned)

    def _offer_new(self, seq: int, group_id: str | None) -> None:
        self._fresh.append(seq)

    def _offer_entry(self, entry: Entry) -> None:
        heapq.heappush(self._returned, entry.seq)

    def take(self, limit: int) -> list[Entry]:
        taken: list[Entry] = []
        fresh, returned = self._fresh, self._returned
        while len(taken) < limit:
            if returned and not (fresh and fresh[0] < returned[0]):
                entry = self.entries.get(heapq.heappop(returned))
                if entry is None or entry.state is not State.READY:
                    continue  # deleted while it was visible
            elif fresh:
                seq = fresh.popleft()
                entry = self.entries[seq] = Entry(seq, None)
            else:
                break
            entry.state = State.IN_FLIGHT
            self.in_flight += 1
            taken.append(entry)
        return taken

    def forget(self, seqs: Iterable[int]) -> None:
        gone = set(seqs)
        bare = [seq for seq in gone if seq not in self.entries]
        for seq in gone - set(bare):
            self.remove(seq)
        self.total -= len(bare)
        if bare:
            self._fresh = deque(seq for seq in self._fresh if seq not in gone)


class FifoIndex(Index):
    """In order within each message group, one group's messages at a time."""

    window = FIFO_WINDOW

    def __init__(self) -> None:
        super().__init__()
        self._groups: dict[str, Group] = {}
        self._available: deque[Group] = deque()
        self._ready = 0

    @property
    def indexed(self) -> int:
        return self._ready

    def _group(self, name: str | None) -> Group | None:
        assert name is not None
        return self._groups.get(name) or self._groups.setdefault(name, Group(name))

    def _offer_new(self, seq: int, group_id: str | None) -> None:
        group = self._group(group_id)
        assert group is not None
        self._push(group, seq)

    def _offer_entry(self, entry: Entry) -> None:
        assert entry.group is not None
        self._push(entry.group, entry.seq)

    def _push(self, group: Group, seq: int) -> None:
        heapq.heappush(group.ready, seq)
        self._ready += 1
        self._offer(group)

    def _offer(self, group: Group) -> None:
        if group.in_flight == 0 and not group.offered:
            if group.ready:
                group.offered = True
                self._available.append(group)
            elif not group.delayed and self._groups.get(group.name) is group:
                del self._groups[group.name]

    def _free(self, entry: Entry) -> None:
        assert entry.group is not None
        self._offer(entry.group)

    def take(self, limit: int) -> list[Entry]:
        taken: list[Entry] = []
        available = self._available
        while available and len(taken) < limit:
            group = available.popleft()
            group.offered = False
            if group.in_flight:
                continue
            while group.ready and len(taken) < limit:
                seq = heapq.heappop(group.ready)
                self._ready -= 1
                entry = self.entries.get(seq)
                if entry is None:
                    entry = self.entries[seq] = Entry(seq, group)
                elif entry.state is not State.READY:
                    continue
                entry.state = State.IN_FLIGHT
                self.in_flight += 1
                group.in_flight += 1
                taken.append(entry)
        return taken

    def forget(self, seqs: Iterable[int]) -> None:
        gone = set(seqs)
        bare = [seq for seq in gone if seq not in self.entries]
        for group in self._groups.values():
            kept = [seq for seq in group.ready if seq not in gone]
            self._ready -= len(group.ready) - len(kept)
            heapq.heapify(kept)
            group.ready = kept
        self.total -= len(bare)
        for seq in gone - set(bare):
            self.remove(seq)
