// RUN: not bspc-opt %s --bspc-lower 2>&1 | filecheck %s

// CHECK: bspc-lower: fc: operand 5 of bspc.packed_matmul is computed at run time; packed weights
func.func @no_constant(%x: tensor<3xf32>, %values: tensor<4xf32>) -> tensor<1xf32> {
  %reorder = arith.constant dense<0> : tensor<1xi32>
  %offset = arith.constant dense<[0, 1]> : tensor<2xi32>
  %column_index = arith.constant dense<2> : tensor<1xi16>
  %y = "bspc.packed_matmul"(%x, %reorder, %offset, %offset, %column_index, %values)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 1, 3>}
      : (tensor<3xf32>, tensor<1xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<1xf32>
  return %y : tensor<1xf32>
}
