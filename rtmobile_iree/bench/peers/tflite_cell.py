"""One step of a GRU model as a TensorFlow Lite flatbuffer, written with LiteRT's own schema.

    x [1, I], one state [1, H] a layer -> y [1, C], one state [1, H] a layer

Weights are f32; or int8 with a scale a row, for kernels that quantize activations as they come
(what ai-edge-quantizer calls dynamic_wi8_afp32); and either may be stored sparse, as rows of blocks
of one by `BLOCK_WIDTH` weights, the only ones that LiteRT's sparse kernels read. A whole chunk in
one graph would be worse: shared weights are packed once for each use.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rtmobile_iree.bench.peers.gru_task import GruModel, LayerWeights
from rtmobile_iree.errors import InputError

SCHEMA_VERSION = 3
# Versions of the operator: int8 weights with a scale a row, and sparse weights. XNNPACK takes any
# but the last one, and would store sparse weights dense.
SCALED_LINEAR, SPARSE_LINEAR = 12, 8
# weights in one block of LiteRT's sparse kernels, for f32 and for int8
BLOCK_WIDTH = {np.dtype(np.float32): 4, np.dtype(np.int8): 16}
TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
}


class CellGraph:
    """Tensors and operators under construction."""

    def __init__(self, dtype: type[np.generic], is_sparse: bool) -> None:
        self.weight_type, self.is_sparse = np.dtype(dtype), is_sparse
        self.subgraph = schema.SubGraphT()
        self.subgraph.tensors, self.subgraph.operators = [], []
        self.buffers, self.codes = [schema.BufferT()], dict[tuple[int, int], int]()

    def tensor(self, *shape: int) -> int:
        """A tensor of f32 that is computed or given."""
        return self._add(shape, np.dtype(np.float32), 0)

    def constant(self, array: np.ndarray) -> int:
        return self._add(array.shape, array.dtype, self._buffer(array))

    def op(
        self,
        code: int,
        inputs: list[int],
        outputs: list[int],
        options: Any = None,
        version: int = 1,
    ) -> int:
        """Adds an operator and returns its first result."""
        op = schema.OperatorT()
        op.opcodeIndex = self.codes.setdefault((code, version), len(self.codes))
        op.inputs, op.outputs = inputs, outputs
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            op.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            op.builtinOptions = options
        self.subgraph.operators.append(op)
        return outputs[0]

    def elementwise(self, name: str, *inputs: int) -> int:
        """LOGISTIC, TANH, ADD, MUL or SUB of tensors of one shape."""
        options = getattr(schema, f"{name.title()}OptionsT", None)
        result = self.tensor(*self.subgraph.tensors[inputs[0]].shape)
        code = getattr(schema.BuiltinOperator, name)
        return self.op(code, list(inputs), [result], options and options())

    def linear(self, x: int, weight: np.ndarray, bias: np.ndarray) -> int:
        """x [1, N] times weight [M, N], plus bias."""
        options = schema.FullyConnectedOptionsT()
        inputs = [x, self._weight(weight), self.constant(bias)]
        result = self.tensor(1, len(weight))
        version = SPARSE_LINEAR if self.is_sparse else SCALED_LINEAR
        code = schema.BuiltinOperator.FULLY_CONNECTED
        return self.op(code, inputs, [result], options, version)

    def split(self, x: int, parts: int) -> list[int]:
        """x [1, N] cut into equal parts."""
        options = schema.SplitOptionsT()
        options.numSplits = parts
        results = [self.tensor(1, self.subgraph.tensors[x].shape[1] // parts) for _ in range(parts)]
        axis = self.constant(np.array(1, np.int32))
        self.op(schema.BuiltinOperator.SPLIT, [axis, x], results, options)
        return results

    def serialize(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.subgraph.inputs, self.subgraph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = (
            SCHEMA_VERSION,
            [self.subgraph],
            self.buffers,
        )
        model.operatorCodes = [_operator_code(*key) for key in self.codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _weight(self, weight: np.ndarray) -> int:
        scales = None
        if self.weight_type == np.int8:
            most = np.abs(weight).max(1)
            scales = np.where(most > 0, most / 127, 1)  # XNNPACK refuses a scale of 0
            weight = np.round(weight / scales[:, None]).astype(np.int8)
        if not self.is_sparse:
            index = self.constant(weight)
        else:
            values, sparsity = _sparse(weight, BLOCK_WIDTH[self.weight_type])
            index = self._add(weight.shape, weight.dtype, self._buffer(values))
            self.subgraph.tensors[index].sparsity = sparsity
        if scales is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = scales.astype(np.float32)
            quantization.zeroPoint = np.zeros(len(scales), np.int64)
            self.subgraph.tensors[index].quantization = quantization
        return index

    def _add(self, shape: tuple[int, ...], dtype: np.dtype[Any], buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), TYPES[dtype], buffer
        tensor.name = f"tensor_{len(self.subgraph.tensors)}"
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def _buffer(self, array: np.ndarray) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.buffers.append(buffer)
        return len(self.buffers) - 1


def cell(model: GruModel, dtype: type[np.generic], is_sparse: bool = False) -> bytes:
    """The flatbuffer of one step.

    Args:
        dtype: of the weights of the GRU, np.float32 or np.int8.
        is_sparse: whether the GRU's weights are stored sparse; the linear layer's are dense f32
            then. x has `padded_inputs` columns.

    Raises:
        InputError: stored sparse, and not a whole number of blocks.
    """
    graph, layers = CellGraph(dtype, is_sparse), model.layers()
    hidden, width = layers[0][1].shape[1], BLOCK_WIDTH[np.dtype(dtype)]
    if is_sparse and hidden % width:
        raise InputError(f"its sparse kernels want hidden sizes in {width}s; this one is {hidden}")
    x = graph.tensor(1, padded_inputs(model, dtype, is_sparse))
    states = [graph.tensor(1, hidden) for _ in layers]
    y, last = x, []
    for weights, state in zip(layers, states, strict=True):
        y = _layer(graph, weights, y, state)
        last.append(y)
    if linear := model.linear():
        graph.is_sparse, was_sparse = False, graph.is_sparse
        graph.weight_type = np.dtype(np.float32) if was_sparse else graph.weight_type
        y = graph.linear(y, *linear)
    else:
        # an output of its own: a tensor that is two outputs would be told apart by nobody
        y = graph.elementwise("ADD", y, graph.constant(np.zeros((1, hidden), np.float32)))
    return graph.serialize([x, *states], [y, *last])


def padded_inputs(model: GruModel, dtype: type[np.generic], is_sparse: bool) -> int:
    """Columns of x: the model's inputs, in whole blocks where the weights are stored sparse."""
    width = BLOCK_WIDTH[np.dtype(dtype)] if is_sparse else 1
    return -(-model.gru.input_size // width) * width


def _layer(graph: CellGraph, weights: LayerWeights, x: int, state: int) -> int:
    """One layer: its new state, [1, H]."""
    w_ih, w_hh, b_ih, b_hh = weights
    columns = graph.subgraph.tensors[x].shape[1]
    w_ih = np.pad(w_ih, ((0, 0), (0, columns - w_ih.shape[1])))
    x_r, x_z, x_n = graph.split(graph.linear(x, w_ih, b_ih), 3)
    h_r, h_z, h_n = graph.split(graph.linear(state, w_hh, b_hh), 3)
    do = graph.elementwise
    r = do("LOGISTIC", do("ADD", x_r, h_r))
    z = do("LOGISTIC", do("ADD", x_z, h_z))
    n = do("TANH", do("ADD", x_n, do("MUL", r, h_n)))
    return do("ADD", n, do("MUL", z, do("SUB", state, n)))


def _sparse(weight: np.ndarray, width: int) -> tuple[np.ndarray, Any]:
    """The blocks of one by `width` that hold anything, row by row, and where they are."""
    rows, columns = weight.shape
    blocks = weight.reshape(rows, columns // width, width)
    kept = blocks.any(2)
    across = schema.DimensionMetadataT()
    across.format = schema.DimensionType.SPARSE_CSR
    across.arraySegmentsType = across.arrayIndicesType = schema.SparseIndexVector.Int32Vector
    across.arraySegments, across.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
    across.arraySegments.values = np.append(0, np.cumsum(kept.sum(1))).astype(np.int32)
    across.arrayIndices.values = np.nonzero(kept)[1].astype(np.int32)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap = [0, 1, 2], [1]
    sparsity.dimMetadata = [_dense_dim(rows), across, _dense_dim(width)]
    return blocks[kept], sparsity


def _dense_dim(size: int) -> Any:
    metadata = schema.DimensionMetadataT()
    metadata.format, metadata.denseSize = schema.DimensionType.DENSE, size
    return metadata


def _operator_code(code: int, version: int) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = code
    made.version = version
    return made
