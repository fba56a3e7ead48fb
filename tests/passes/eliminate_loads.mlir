// RUN: bspc-opt %s --split-input-file --bspc-reorder --bspc-eliminate-loads | filecheck %s
// RUN: bspc-opt %s --split-input-file --bspc-reorder --bspc-eliminate-loads \
// RUN:   --bspc-eliminate-loads | filecheck %s

#w = #bspc.encoding<{stage = "encoded", groups = 2 : i64, kept = 4 : i64, group_offset = array<i64>,
    loads_before = 4 : i64}>

// Row 0 keeps columns 0 and 1, row 1 keeps columns 1 and 2: one panel loads 3, not 4.
// CHECK-LABEL: func.func @merge
// CHECK:       #bspc.encoding<{group_offset = array<i64: 0, 2>, groups = 1 : i64, kept = 4 : i64,
// CHECK-SAME:  loads_after = 3 : i64, loads_before = 4 : i64, stage = "merged"}>
func.func @merge(%x: tensor<3xf32>) -> tensor<2xf32> {
  %w = arith.constant dense<[[1., 2., 0.], [0., 3., 4.]]> : tensor<2x3xf32, #w>
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<3xf32>, tensor<2x3xf32, #w>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}

// -----

#w = #bspc.encoding<{stage = "encoded", groups = 2 : i64, kept = 12 : i64,
    group_offset = array<i64>, loads_before = 12 : i64}>

// Rows 0 to 7 keep column 0, rows 8 to 11 column 1. Together they would be panels of 8 and of 4
// rows over both columns: 4 loads where there are 2.
// CHECK-LABEL: func.func @apart
// CHECK:       group_offset = array<i64: 0, 8, 12>, groups = 2 : i64
// CHECK-SAME:  loads_after = 2 : i64, loads_before = 12 : i64, stage = "merged"
func.func @apart(%x: tensor<2xf32>) -> tensor<12xf32> {
  %w = arith.constant dense<[[1., 0.], [1., 0.], [1., 0.], [1., 0.], [1., 0.], [1., 0.], [1., 0.],
      [1., 0.], [0., 1.], [0., 1.], [0., 1.], [0., 1.]]> : tensor<12x2xf32, #w>
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2xf32>, tensor<12x2xf32, #w>)
      -> tensor<12xf32>
  return %y : tensor<12xf32>
}

// -----

#w = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = 2 : i64, group_offset = array<i64>,
    loads_before = 2 : i64, loads_after = 2 : i64}>

// Two matrices, one x, one pattern: one matmul, two slices.
// CHECK-LABEL: func.func @fuse
// CHECK:       tensor<4x3xf32, #bspc.encoding<{group_offset = array<i64: 0, 2>
// CHECK-SAME:  loads_after = 2 : i64, loads_before = 4 : i64
// CHECK:       %[[Y:.*]] = "bspc.matmul"{{.*}} {name = "a+b"}
// CHECK-NOT:   bspc.matmul
// CHECK:       %[[A:.*]] = tensor.extract_slice %[[Y]][0, 0] [%{{.*}}, 2] [1, 1]
// CHECK:       %[[B:.*]] = tensor.extract_slice %[[Y]][0, 2] [%{{.*}}, 2] [1, 1]
// CHECK:       return %[[A]], %[[B]]
func.func @fuse(%x: tensor<?x3xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>) {
  %wa = arith.constant dense<[[1., 2., 0.], [0., 0., 0.]]> : tensor<2x3xf32, #w>
  %wb = arith.constant dense<[[0., 0., 0.], [3., 4., 0.]]> : tensor<2x3xf32, #w>
  %a = "bspc.matmul"(%x, %wa) {name = "a"} : (tensor<?x3xf32>, tensor<2x3xf32, #w>)
      -> tensor<?x2xf32>
  %b = "bspc.matmul"(%x, %wb) {name = "b"} : (tensor<?x3xf32>, tensor<2x3xf32, #w>)
      -> tensor<?x2xf32>
  return %a, %b : tensor<?x2xf32>, tensor<?x2xf32>
}

// -----

#w = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = 2 : i64, group_offset = array<i64>,
    loads_before = 2 : i64, loads_after = 2 : i64}>

// Not fed by the same vector: two matmuls stay two.
// CHECK-LABEL:   func.func @two_inputs
// CHECK-COUNT-2: "bspc.matmul"
// CHECK-NOT:     tensor.extract_slice
func.func @two_inputs(%x: tensor<3xf32>, %z: tensor<3xf32>) -> (tensor<2xf32>, tensor<2xf32>) {
  %w = arith.constant dense<[[1., 2., 0.], [0., 0., 0.]]> : tensor<2x3xf32, #w>
  %a = "bspc.matmul"(%x, %w) {name = "a"} : (tensor<3xf32>, tensor<2x3xf32, #w>) -> tensor<2xf32>
  %b = "bspc.matmul"(%z, %w) {name = "b"} : (tensor<3xf32>, tensor<2x3xf32, #w>) -> tensor<2xf32>
  return %a, %b : tensor<2xf32>, tensor<2xf32>
}
