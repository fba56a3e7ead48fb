// RUN: bspc-opt %s --split-input-file --bspc-reorder | filecheck %s
// RUN: bspc-opt %s --split-input-file --bspc-reorder --bspc-reorder | filecheck %s
// RUN: bspc-opt %s --split-input-file --bspc-reorder=workers=2 \
// RUN:   | filecheck %s --check-prefix TWO

// Rows 0, 2 and 5 keep columns 0 and 1, row 3 keeps column 2, rows 1 and 4 keep nothing.
// CHECK-LABEL: func.func @matmul
// CHECK:       dense<{{\[}}[1.000000e+00, 2.000000e+00, 0.000000e+00],
// CHECK-SAME:  [3.000000e+00, 4.000000e+00, 0.000000e+00], [5.000000e+00, 6.000000e+00, 0.000000e+00],
// CHECK-SAME:  [0.000000e+00, 0.000000e+00, 7.000000e+00],
// CHECK-SAME:  group_offset = array<i64: 0, 3, 4>, groups = 2 : i64, kept = 7 : i64
// CHECK-SAME:  stage = "reordered"
// CHECK:       dense<[0, 2, 5, 3, 1, 4]> : tensor<6xi32>
// CHECK:       "bspc.matmul"(%arg0, %{{.*}}, %{{.*}}) {name = "fc"}
// CHECK-SAME:  tensor<6xi32>) -> tensor<?x6xf32>
// TWO-LABEL:   func.func @matmul
func.func @matmul(%x: tensor<?x3xf32>) -> tensor<?x6xf32> {
  %w = arith.constant dense<[[1., 2., 0.], [0., 0., 0.], [3., 4., 0.], [0., 0., 7.], [0., 0., 0.],
      [5., 6., 0.]]> : tensor<6x3xf32, #bspc.encoding<{stage = "encoded", groups = 2 : i64,
      kept = 7 : i64, group_offset = array<i64>}>>
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<?x3xf32>, tensor<6x3xf32,
      #bspc.encoding<{stage = "encoded", groups = 2 : i64, kept = 7 : i64,
      group_offset = array<i64>}>>) -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

// -----

// Costs of the groups: row 0 most, then rows 1 and 2. Two workers: {row 0}, {row 1, row 2}.
// CHECK-LABEL: func.func @balance
// CHECK:       dense<[0, 1, 2]> : tensor<3xi32>
// TWO-LABEL:   func.func @balance
// TWO:         dense<[1, 0, 2]> : tensor<3xi32>
func.func @balance(%x: tensor<4xf32>) -> tensor<3xf32> {
  %w = arith.constant dense<[[1., 0., 0., 0.], [1., 1., 1., 1.], [0., 2., 0., 0.]]>
      : tensor<3x4xf32, #bspc.encoding<{stage = "encoded", groups = 3 : i64, kept = 6 : i64,
      group_offset = array<i64>}>>
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<4xf32>, tensor<3x4xf32,
      #bspc.encoding<{stage = "encoded", groups = 3 : i64, kept = 6 : i64,
      group_offset = array<i64>}>>) -> tensor<3xf32>
  return %y : tensor<3xf32>
}

// -----

// No encoding, nothing to do.
// CHECK-LABEL: func.func @dense
// CHECK-NOT:   i32
// CHECK:       "bspc.matmul"(%arg0, %cst) {name = "fc"} : (tensor<2xf32>, tensor<2x2xf32>)
// TWO-LABEL:   func.func @dense
func.func @dense(%x: tensor<2xf32>) -> tensor<2xf32> {
  %w = arith.constant dense<1.0> : tensor<2x2xf32>
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2xf32>, tensor<2x2xf32>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}

// -----

// One weight of two has an encoding: the other gets the identity beside it, and keeps its rows.
// CHECK-LABEL: func.func @gru
// CHECK:       dense<[0, 1, 2, 2, 0, 1]> : tensor<6xi32>
// CHECK:       "bspc.gru"
// CHECK-SAME:  tensor<3x1xf32>, tensor<3x1xf32, #bspc.encoding
func.func @gru(%x: tensor<?x1x1xf32>, %state: tensor<1x1x1xf32>) -> tensor<?x1x1xf32> {
  %w_ih = arith.constant dense<1.0> : tensor<3x1xf32>
  %w_hh = arith.constant dense<[[0.], [0.], [3.]]> : tensor<3x1xf32, #bspc.encoding<{
      stage = "encoded", groups = 1 : i64, kept = 1 : i64, group_offset = array<i64>}>>
  %b = arith.constant dense<0.0> : tensor<3xf32>
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh, %b, %b) {layer = 0 : i64, name = "gru.l0"}
      : (tensor<?x1x1xf32>, tensor<1x1x1xf32>, tensor<3x1xf32>, tensor<3x1xf32, #bspc.encoding<{
      stage = "encoded", groups = 1 : i64, kept = 1 : i64, group_offset = array<i64>}>>,
      tensor<3xf32>, tensor<3xf32>) -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>)
  return %y : tensor<?x1x1xf32>
}
