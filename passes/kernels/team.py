"""Stripes: several workers on one kernel, each with a share of every matrix's panels.

The kernel is dispatched as so many workgroups. They do the same work step by step, but of every
product each computes the panels of its share alone, and all wait for all before the results are
read. Nobody is waited for who has not begun, so any number of workers will do, one included:

    rank = arrivals++                                   # the first to arrive leads
    while chunk := (rank == 0 ? open the next to all who have arrived : wait for one to open):
        body(chunk, rank, members)

A worker that wakes late finds the chunks before it done by those who were there; one that arrives
after the last leaves at once. Where somebody has to wait long at meeting points, time and again,
two workers share a core: then the leader goes on alone and the others leave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.control import ARRIVALS, Control
from rtmobile_iree.passes.kernels.emit import bit, compare, when
from torch_mlir import ir
from torch_mlir.dialects import arith, scf

# The words after ARRIVALS: the chunk that is open, numbered from 1, and in its lowest bits how many
# are its members; tickets dealt at meeting points, and how many of them before this chunk; how
# often somebody waited long.
OPEN, TICKETS, BASE, LONG_WAITS = range(ARRIVALS + 1, ARRIVALS + 5)
TEAM_WORDS = LONG_WAITS + 1
MEMBER_BITS = 6  # MOST_WORKERS fit
CLOSED = 0x7FFFFFFF  # in place of a chunk when nobody but the leader is wanted any more
# Reads of a word before a wait is long: 50 us on Zen 4. Shares of a step differ by a few, a worker
# that is off its core stays away for thousands.
PATIENCE = 10_000
MOST_LONG_WAITS = 4  # a caller may spin a moment on one of two cores before it sleeps


@dataclass(frozen=True)
class Team:
    """Those who work on one chunk, seen by one of them.

    Attributes:
        rank, members: which one this is, of how many (index values).
        base: tickets dealt before the chunk (i32 value).
    """

    control: Control
    rank: ir.Value
    members: ir.Value
    base: ir.Value

    def share(self, count: int) -> tuple[ir.Value, ir.Value]:
        """First, and last + 1, of `count` things that are this one's."""
        e = self.control.emit
        edges = (e.mul(rank, count) for rank in (self.rank, e.add(self.rank, 1)))
        first, stop = (arith.divui(edge, self.members) for edge in edges)
        return first, stop

    def meet(self) -> None:
        """Returns when every member has come here. Tickets are dealt in rounds of `members`."""
        control, members = self.control, arith.index_cast(self.control.i32, self.members)
        ticket = arith.subi(control.add(TICKETS, 1), self.base)
        round_number = arith.addi(arith.divui(ticket, members), control.constant(1))
        last = arith.addi(arith.muli(round_number, members), self.base)
        _, reads = control.wait(TICKETS, lambda dealt: compare("sge", dealt, last))
        is_long = compare("ugt", reads, control.constant(PATIENCE))

        def remember() -> None:
            control.add(LONG_WAITS, 1)

        when(is_long, remember)


def run_chunks(
    control: Control,
    rank: ir.Value,
    chunks: ir.Value,
    body: Callable[[Team, ir.Value, ir.Value], None],
) -> None:
    """Goes through the chunks as the module docstring says; every chunk must meet at least once.

    Args:
        rank: what `Control.arrive` returned.
        chunks: how many (index value).
        body: (team, chunk, is this one's first): the chunk an index value, the last an i1.
    """
    e, index = control.emit, ir.IndexType.get()
    leads = compare("eq", rank, e.index(0))
    yes = arith.constant(bit(), 1)
    loop = scf.WhileOp([index, index, bit()], [e.index(0), yes])
    before = loop.before.blocks.append(index, bit())
    after = loop.after.blocks.append(index, index, bit())
    with ir.InsertionPoint(before):
        following, is_first = before.arguments
        choice = scf.IfOp(leads, [control.i32] * 2, has_else=True)
        with ir.InsertionPoint(choice.then_block):
            scf.yield_(_open(control, following, chunks))
        with ir.InsertionPoint(choice.else_block):
            scf.yield_(_wait_for_chunk(control, following, rank))
        number, members = (arith.index_cast(index, value) for value in choice.results)
        scf.ConditionOp(compare("ult", number, chunks), [number, members, is_first])
    with ir.InsertionPoint(after):
        number, members, is_first = after.arguments
        body(Team(control, rank, members, control.read(BASE)), number, is_first)
        scf.yield_([e.add(number, 1), arith.constant(bit(), 0)])


def _open(control: Control, chunk: ir.Value, chunks: ir.Value) -> list[ir.Value]:
    """Opens a chunk to all who have arrived; returns it and its members (i32 values).

    Every ticket of the chunk before is dealt: the leader has waited for them.
    """
    control.write(BASE, control.read(TICKETS))
    number, one = arith.index_cast(control.i32, chunk), control.constant(1)
    shifted = arith.shli(arith.addi(number, one), control.constant(MEMBER_BITS))
    arrived = control.read(ARRIVALS)
    is_late = compare("sge", control.read(LONG_WAITS), control.constant(MOST_LONG_WAITS))
    is_closed = arith.ori(is_late, compare("uge", chunk, chunks))
    word = arith.select(is_closed, control.constant(CLOSED), arith.ori(shifted, arrived))
    control.write(OPEN, word)
    return [number, arith.select(is_late, one, arrived)]


def _wait_for_chunk(control: Control, following: ir.Value, rank: ir.Value) -> list[ir.Value]:
    """Waits until a chunk from `following` on is open to this one; returns it and its members.

    When closed, that is a chunk after the last.
    """
    number = arith.index_cast(control.i32, control.emit.add(following, 1))
    shift, mask = (control.constant(n) for n in (MEMBER_BITS, (1 << MEMBER_BITS) - 1))
    least, own = arith.shli(number, shift), arith.index_cast(control.i32, rank)

    def is_there(word: ir.Value) -> ir.Value:
        is_member = compare("ult", own, arith.andi(word, mask))
        return arith.andi(compare("sge", word, least), is_member)

    word, _ = control.wait(OPEN, is_there)
    opened = arith.subi(arith.shrui(word, shift), control.constant(1))
    return [opened, arith.andi(word, mask)]
