// RUN: not bspc-opt %s --split-input-file --bspc-encode 2>&1 | filecheck %s
// RUN: not bspc-opt %s --split-input-file --bspc-encode=threshold=0 2>&1 \
// RUN:   | filecheck %s --check-prefix THRESHOLD

// THRESHOLD: bspc-encode: threshold = 0.0; use a number above 0

// CHECK: bspc-encode: fc.weight [2, 3]: 1 weights are NaN or infinite, the first at [1, 2]; only
func.func @nan_in_a_product(%x: tensor<4x3xf32>) -> tensor<4x2xf32> {
  %w = arith.constant dense<[[1.0, 0.0], [0.0, 0.0], [0.0, 0x7FC00000]]> : tensor<3x2xf32>
      loc("fc.weight")
  %f = arith.constant dense<0.0> : tensor<4x2xf32>
  %y = linalg.matmul ins(%x, %w : tensor<4x3xf32>, tensor<3x2xf32>) outs(%f : tensor<4x2xf32>)
      -> tensor<4x2xf32>
  return %y : tensor<4x2xf32>
}

// -----

// CHECK: bspc-encode: gru.l0.hh [3, 1]: 3 weights are NaN or infinite, the first at [0, 0]
func.func @infinity_in_a_gru(%x: tensor<?x1x1xf32>, %state: tensor<1x1x1xf32>)
    -> tensor<?x1x1xf32> {
  %w = arith.constant dense<1.0> : tensor<3x1xf32>
  %bad = arith.constant dense<0xFF800000> : tensor<3x1xf32>
  %b = arith.constant dense<0.0> : tensor<3xf32>
  %y, %next = "bspc.gru"(%x, %state, %w, %bad, %b, %b) {layer = 0 : i64, name = "gru.l0"}
      : (tensor<?x1x1xf32>, tensor<1x1x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>, tensor<3xf32>,
         tensor<3xf32>) -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>)
  return %y : tensor<?x1x1xf32>
}

// -----

// CHECK: fc: a weight of bspc.matmul is computed at run time; only constant weights can be laid out
func.func @no_constant(%x: tensor<2xf32>, %w: tensor<3x2xf32>) -> tensor<3xf32> {
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2xf32>, tensor<3x2xf32>) -> tensor<3xf32>
  return %y : tensor<3xf32>
}
