"""Wavefront: workers take layers, and run them chunk by chunk as their inputs come.

    layer = 0
    until the last layer has done all chunks:
        if nobody runs the layer:
            while the layer before has done chunk c = done[layer],
                  and the layer after is less than RING chunks behind:
                run the layer on chunk c;  done[layer] += 1
        if there was nothing to do:
            layer = the layer before, or after the first the last

So one layer works on a chunk while the next works on the one before. A worker stays with a layer,
whose weights are in its cache, while there is something to do. Nobody is waited for who has not
begun: any number of workers will do, one included, who then does all. Between two layers there is
room for RING chunks.
"""

from __future__ import annotations

from collections.abc import Callable

from rtmobile_iree.passes.kernels.control import ARRIVALS, Control
from rtmobile_iree.passes.kernels.emit import bit, compare
from torch_mlir import ir
from torch_mlir.dialects import arith, scf

RING = 4  # chunks between two layers


def wavefront_words(layers: int) -> int:
    """Words of control that so many layers need."""
    return _taken(layers)


def run_wavefront(
    control: Control,
    layers: int,
    chunks: ir.Value,
    run: Callable[[int, ir.Value], None],
) -> None:
    """Goes through all chunks of all layers, together with whoever else does.

    Args:
        chunks: how many (index value).
        run: (layer, chunk as an index value); called while nobody else runs that layer, with all
            that was written for the chunk before and by the layer before in sight.
    """
    index, e = ir.IndexType.get(), control.emit
    last = arith.index_cast(control.i32, chunks)
    loop = scf.WhileOp([index], [e.index(0)])
    before, after = loop.before.blocks.append(index), loop.after.blocks.append(index)
    with ir.InsertionPoint(before):
        is_over = compare("sge", control.read(_done(layers - 1)), last)
        scf.ConditionOp(arith.xori(is_over, arith.constant(bit(), 1)), list(before.arguments))
    with ir.InsertionPoint(after):
        (current,) = after.arguments
        following = current
        for layer in range(layers):
            choice = scf.IfOp(compare("eq", current, e.index(layer)), [index], has_else=True)
            with ir.InsertionPoint(choice.then_block):
                another = e.index((layer - 1) % layers)
                has_run = _try(control, layer, layers, last, run)
                scf.yield_([arith.select(has_run, current, another)])
            with ir.InsertionPoint(choice.else_block):
                scf.yield_([following])
            following = choice.results[0]
        scf.yield_([following])


def _try(
    control: Control,
    layer: int,
    layers: int,
    chunks: ir.Value,
    run: Callable[[int, ir.Value], None],
) -> ir.Value:
    """Runs a layer for as long as there is something to do; an i1 says whether there was."""
    no = arith.constant(bit(), 0)
    seems_ready = scf.IfOp(_is_ready(control, layer, layers, chunks), [bit()], has_else=True)
    with ir.InsertionPoint(seems_ready.else_block):
        scf.yield_([no])
    with ir.InsertionPoint(seems_ready.then_block):
        was_taken = control.write(_taken(layer), control.constant(1))
        is_mine = scf.IfOp(compare("eq", was_taken, control.constant(0)), [bit()], has_else=True)
        scf.yield_([is_mine.results[0]])
    with ir.InsertionPoint(is_mine.else_block):
        scf.yield_([no])
    with ir.InsertionPoint(is_mine.then_block):
        loop = scf.WhileOp([bit()], [no])
        before, after = loop.before.blocks.append(bit()), loop.after.blocks.append(bit())
        with ir.InsertionPoint(before):
            ready = _is_ready(control, layer, layers, chunks)
            scf.ConditionOp(ready, list(before.arguments))
        with ir.InsertionPoint(after):
            run(layer, arith.index_cast(ir.IndexType.get(), control.read(_done(layer))))
            control.add(_done(layer), 1)
            scf.yield_([arith.constant(bit(), 1)])
        control.write(_taken(layer), control.constant(0))
        scf.yield_([loop.results[0]])
    return seems_ready.results[0]


def _is_ready(control: Control, layer: int, layers: int, chunks: ir.Value) -> ir.Value:
    """Whether a layer's next chunk has its input, and room for its output."""
    chunk = control.read(_done(layer))
    there = chunks if layer == 0 else control.read(_done(layer - 1))
    ready = compare("slt", chunk, there)
    if layer == layers - 1:
        return ready
    room = arith.addi(control.read(_done(layer + 1)), control.constant(RING))
    return arith.andi(ready, compare("slt", chunk, room))


def _done(layer: int) -> int:
    """The word that counts the chunks a layer has done."""
    return ARRIVALS + 1 + 2 * layer


def _taken(layer: int) -> int:
    """The word that is 1 while somebody runs a layer."""
    return _done(layer) + 1
