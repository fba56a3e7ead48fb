"""A pruned GRU for MLIR's sparsifier: its weights as sparse tensors, all else on buffers.

The best level map found for BSP's zeros is [strip, column, row of the strip], of which only the
columns are compressed: a strip's rows share its columns, so the innermost loop is dense and becomes
vectors. Strips of one row are compressed rows (CSR). Nothing is allocated in a call: the pipeline
frees nothing.
"""

from __future__ import annotations

from rtmobile_iree.bench.peers.gru_task import GruTask


def sparsifier_module(gru: GruTask, height: int) -> str:
    """The MLIR of one chunk, as a function of `sparsifier_buffers.Buffers.arguments`."""
    steps, inputs = gru.frames.shape
    layers, hidden = gru.state.shape
    arguments: list[str] = []
    body = [_CONSTANTS.format(steps=steps, coefficients=_COEFFICIENTS)]
    x, x_type = "%x", f"memref<{steps}x{inputs}xf32>"
    for i in range(layers):
        sizes = {
            "i": i,
            "x": x,
            "x_type": x_type,
            "steps": steps,
            "inputs": inputs if i == 0 else hidden,
            "hidden": hidden,
            "gates": 3 * hidden,
            "groups": 3 * hidden // height,
            "height": height,
            "second": hidden,
            "third": 2 * hidden,
        }
        arguments.append(_LAYER_ARGUMENTS.format(**sizes))
        body.append(_LAYER.format(**sizes))
        x, x_type = f"%ys_{i}", f"memref<{steps}x{hidden}xf32>"
    arguments.append(f"%x: memref<{steps}x{inputs}xf32>")
    if gru.model.fc is not None:
        classes = gru.model.fc.out_features
        sizes = {"steps": steps, "hidden": hidden, "classes": classes, "x": x, "x_type": x_type}
        arguments.append(_LINEAR_ARGUMENTS.format(**sizes))
        body.append(_LINEAR.format(**sizes))
    head = f"func.func @main({', '.join(arguments)}) attributes {{llvm.emit_c_interface}} {{"
    return "\n".join([_HEAD, head, *body, "return", "}"])


# exp(f) = 1 + f + f^2 p(f) for |f| <= ln(2) / 2; source: Cephes, expf.c. The wheel has no pass that
# expands exp, and a loop that calls libm's does not become vectors.
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
_COEFFICIENTS = "\n".join(f"  %exp_c{i} = arith.constant {c} : f32" for i, c in enumerate(EXP))


def _exp(name: str, x: str) -> str:
    """%NAME = exp(%X), by the polynomial and a power of two made from bits."""
    horner = "\n".join(
        f"      %{name}_p{i} = math.fma %{name}_p{i - 1}, %{name}_f, %exp_c{i} : f32"
        for i in range(1, len(EXP))
    ).replace(f"%{name}_p0,", "%exp_c0,")
    return f"""
      %{name}_top = arith.minimumf %{x}, %most : f32
      %{name}_x = arith.maximumf %{name}_top, %least : f32
      %{name}_scaled = arith.mulf %{name}_x, %log2_e : f32
      %{name}_k = math.roundeven %{name}_scaled : f32
      %{name}_g = math.fma %{name}_k, %minus_ln2_high, %{name}_x : f32
      %{name}_f = math.fma %{name}_k, %minus_ln2_low, %{name}_g : f32
{horner}
      %{name}_ff = arith.mulf %{name}_f, %{name}_f : f32
      %{name}_q = math.fma %{name}_p{len(EXP) - 1}, %{name}_ff, %{name}_f : f32
      %{name}_e = arith.addf %{name}_q, %one : f32
      %{name}_i = arith.fptosi %{name}_k : f32 to i32
      %{name}_b = arith.addi %{name}_i, %bias : i32
      %{name}_s = arith.shli %{name}_b, %mantissa : i32
      %{name}_2k = arith.bitcast %{name}_s : i32 to f32
      %{name} = arith.mulf %{name}_e, %{name}_2k : f32"""


_HEAD = """
#strips = #sparse_tensor.encoding<{
  map = (g, k, r) -> (g : dense, k : compressed, r : dense), posWidth = 32, crdWidth = 32 }>
#chunk = { indexing_maps = [affine_map<(t, g, k, r) -> (g, k, r)>,
  affine_map<(t, g, k, r) -> (t, k)>, affine_map<(t, g, k, r) -> (t, g, r)>],
  iterator_types = ["parallel", "parallel", "reduction", "parallel"] }
#step = { indexing_maps = [affine_map<(g, k, r) -> (g, k, r)>, affine_map<(g, k, r) -> (k)>,
  affine_map<(g, k, r) -> (g, r)>], iterator_types = ["parallel", "reduction", "parallel"] }
"""

_CONSTANTS = """
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %two = arith.constant 2.0 : f32
  %most = arith.constant 87.0 : f32
  %least = arith.constant -87.0 : f32
  %log2_e = arith.constant 1.44269504 : f32
  %minus_ln2_high = arith.constant -0.693359375 : f32
  %minus_ln2_low = arith.constant 2.12194440e-4 : f32
  %bias = arith.constant 127 : i32
  %mantissa = arith.constant 23 : i32
{coefficients}
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %steps = arith.constant {steps} : index
"""

_MATRIX_ARGUMENTS = """
  %{side}_pos_{{i}}: memref<?xi32>, %{side}_crd_{{i}}: memref<?xi32>,
  %{side}_val_{{i}}: memref<?xf32>"""

_LAYER_ARGUMENTS = (
    ",".join(_MATRIX_ARGUMENTS.format(side=side) for side in ("ih", "hh"))
    + """,
  %b_ih_{i}: memref<{gates}xf32>, %b_hh_{i}: memref<{gates}xf32>,
  %projected_{i}: memref<{steps}x{groups}x{height}xf32>,
  %product_{i}: memref<{groups}x{height}xf32>,
  %before_{i}: memref<{hidden}xf32>, %h_{i}: memref<{hidden}xf32>,
  %ys_{i}: memref<{steps}x{hidden}xf32>"""
)

_MATRIX = """
  %{side}_pos_t_{{i}} = bufferization.to_tensor %{side}_pos_{{i}} restrict
    : memref<?xi32> to tensor<?xi32>
  %{side}_crd_t_{{i}} = bufferization.to_tensor %{side}_crd_{{i}} restrict
    : memref<?xi32> to tensor<?xi32>
  %{side}_val_t_{{i}} = bufferization.to_tensor %{side}_val_{{i}} restrict
    : memref<?xf32> to tensor<?xf32>
  %w_{side}_{{i}} = sparse_tensor.assemble
    (%{side}_pos_t_{{i}}, %{side}_crd_t_{{i}}), %{side}_val_t_{{i}}
    : (tensor<?xi32>, tensor<?xi32>), tensor<?xf32>
    to tensor<{{groups}}x{{{columns}}}x{{height}}xf32, #strips>"""

# gates as PyTorch's nn.GRU has them; p and q are the products of the inputs and of the state
_LAYER = (
    _MATRIX.format(side="ih", columns="inputs")
    + _MATRIX.format(side="hh", columns="hidden")
    + """
  %x_t_{i} = bufferization.to_tensor {x} restrict : {x_type} to tensor<{steps}x{inputs}xf32>
  linalg.fill ins(%zero : f32) outs(%projected_{i} : memref<{steps}x{groups}x{height}xf32>)
  %in_t_{i} = bufferization.to_tensor %projected_{i} restrict writable
    : memref<{steps}x{groups}x{height}xf32> to tensor<{steps}x{groups}x{height}xf32>
  %in_1_{i} = linalg.generic #chunk
    ins(%w_ih_{i}, %x_t_{i}
      : tensor<{groups}x{inputs}x{height}xf32, #strips>, tensor<{steps}x{inputs}xf32>)
    outs(%in_t_{i} : tensor<{steps}x{groups}x{height}xf32>) {{
  ^bb0(%w: f32, %v: f32, %s: f32):
    %m = arith.mulf %w, %v : f32
    %a = arith.addf %s, %m : f32
    linalg.yield %a : f32
  }} -> tensor<{steps}x{groups}x{height}xf32>
  bufferization.materialize_in_destination %in_1_{i} in restrict writable %projected_{i}
    : (tensor<{steps}x{groups}x{height}xf32>, memref<{steps}x{groups}x{height}xf32>) -> ()
  %p_all_{i} = memref.collapse_shape %projected_{i} [[0], [1, 2]]
    : memref<{steps}x{groups}x{height}xf32> into memref<{steps}x{gates}xf32>
  %q_all_{i} = memref.collapse_shape %product_{i} [[0, 1]]
    : memref<{groups}x{height}xf32> into memref<{gates}xf32>
  memref.copy %before_{i}, %h_{i} : memref<{hidden}xf32> to memref<{hidden}xf32>
  scf.for %t = %c0 to %steps step %c1 {{
    %h_t = bufferization.to_tensor %h_{i} restrict : memref<{hidden}xf32> to tensor<{hidden}xf32>
    linalg.fill ins(%zero : f32) outs(%product_{i} : memref<{groups}x{height}xf32>)
    %re_t = bufferization.to_tensor %product_{i} restrict writable
      : memref<{groups}x{height}xf32> to tensor<{groups}x{height}xf32>
    %re_1 = linalg.generic #step
      ins(%w_hh_{i}, %h_t : tensor<{groups}x{hidden}x{height}xf32, #strips>, tensor<{hidden}xf32>)
      outs(%re_t : tensor<{groups}x{height}xf32>) {{
    ^bb0(%w: f32, %v: f32, %s: f32):
      %m = arith.mulf %w, %v : f32
      %a = arith.addf %s, %m : f32
      linalg.yield %a : f32
    }} -> tensor<{groups}x{height}xf32>
    bufferization.materialize_in_destination %re_1 in restrict writable %product_{i}
      : (tensor<{groups}x{height}xf32>, memref<{groups}x{height}xf32>) -> ()
    %y_t = memref.subview %ys_{i}[%t, 0] [1, {hidden}] [1, 1]
      : memref<{steps}x{hidden}xf32> to memref<{hidden}xf32, strided<[1], offset: ?>>
    %p = memref.subview %p_all_{i}[%t, 0] [1, {gates}] [1, 1]
      : memref<{steps}x{gates}xf32> to memref<{gates}xf32, strided<[1], offset: ?>>
    linalg.generic {{ indexing_maps = [affine_map<(u) -> (u)>, affine_map<(u) -> (u)>],
      iterator_types = ["parallel"] }}
      outs(%h_{i}, %y_t : memref<{hidden}xf32>, memref<{hidden}xf32, strided<[1], offset: ?>>) {{
    ^bb0(%old: f32, %unused: f32):
      %u = linalg.index 0 : index
      %c_z = arith.constant {second} : index
      %c_n = arith.constant {third} : index
      %u_z = arith.addi %u, %c_z : index
      %u_n = arith.addi %u, %c_n : index
"""
    + "".join(
        f"""
      %p_{gate} = memref.load %p[{at}] : memref<{{gates}}xf32, strided<[1], offset: ?>>
      %q_{gate} = memref.load %q_all_{{i}}[{at}] : memref<{{gates}}xf32>
      %bi_{gate} = memref.load %b_ih_{{i}}[{at}] : memref<{{gates}}xf32>
      %bh_{gate} = memref.load %b_hh_{{i}}[{at}] : memref<{{gates}}xf32>
      %i_{gate} = arith.addf %p_{gate}, %bi_{gate} : f32
      %h_{gate} = arith.addf %q_{gate}, %bh_{gate} : f32"""
        for gate, at in (("r", "%u"), ("z", "%u_z"), ("n", "%u_n"))
    )
    + "".join(
        f"""
      %sum_{gate} = arith.addf %i_{gate}, %h_{gate} : f32
      %neg_{gate} = arith.negf %sum_{gate} : f32
{_exp(f"exp_{gate}", f"neg_{gate}")}
      %den_{gate} = arith.addf %exp_{gate}, %one : f32
      %{gate} = arith.divf %one, %den_{gate} : f32"""
        for gate in "rz"
    )
    + f"""
      %rh = arith.mulf %r, %h_n : f32
      %sum_n = arith.addf %i_n, %rh : f32
      %twice = arith.addf %sum_n, %sum_n : f32
{_exp("exp_n", "twice")}
      %den_n = arith.addf %exp_n, %one : f32
      %two_n = arith.divf %two, %den_n : f32
      %n = arith.subf %one, %two_n : f32"""
    + """
      %d = arith.subf %old, %n : f32
      %zd = arith.mulf %z, %d : f32
      %new = arith.addf %n, %zd : f32
      linalg.yield %new, %new : f32, f32
    }}
  }}"""
)

_LINEAR_ARGUMENTS = (
    "%fc_w: memref<{hidden}x{classes}xf32>, %fc_b: memref<{classes}xf32>, "
    "%fc_y: memref<{steps}x{classes}xf32>"
)

_LINEAR = """
  linalg.broadcast ins(%fc_b : memref<{classes}xf32>) outs(%fc_y : memref<{steps}x{classes}xf32>)
    dimensions = [0]
  linalg.generic {{ indexing_maps = [affine_map<(t, k, c) -> (t, k)>,
    affine_map<(t, k, c) -> (k, c)>, affine_map<(t, k, c) -> (t, c)>],
    iterator_types = ["parallel", "reduction", "parallel"] }}
    ins({x}, %fc_w : {x_type}, memref<{hidden}x{classes}xf32>)
    outs(%fc_y : memref<{steps}x{classes}xf32>) {{
  ^bb0(%v: f32, %weight: f32, %s: f32):
    %m = arith.mulf %v, %weight : f32
    %a = arith.addf %s, %m : f32
    linalg.yield %a : f32
  }}"""
