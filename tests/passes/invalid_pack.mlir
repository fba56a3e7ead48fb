// RUN: not bspc-opt %s --bspc-pack 2>&1 | filecheck %s
// RUN: not bspc-opt %s --bspc-eliminate-loads --bspc-pack 2>&1 | filecheck %s

#w = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = 2 : i64, group_offset = array<i64>}>

// CHECK: bspc-pack: fc [2, 3]: its rows are not reordered yet; run bspc-reorder before it
func.func @before_reorder(%x: tensor<3xf32>) -> tensor<2xf32> {
  %w = arith.constant dense<[[1., 2., 0.], [0., 0., 0.]]> : tensor<2x3xf32, #w>
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<3xf32>, tensor<2x3xf32, #w>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}
