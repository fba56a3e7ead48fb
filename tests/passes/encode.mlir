// RUN: bspc-opt %s --split-input-file --bspc-encode=threshold=0.95 | filecheck %s
// RUN: bspc-opt %s --split-input-file --bspc-encode=threshold=0.95 --bspc-encode=threshold=0.95 \
// RUN:   | filecheck %s

// encode_forms.mlir has the forms a product can take; here is what becomes of its weights.

// Both weights of a GRU: w_hh has block structure, w_ih has no zeros and says so.
// CHECK-LABEL: func.func @gru
// CHECK:       %[[IH:.*]] = arith.constant dense<1.000000e+00> : tensor<6x1xf32>
// CHECK:       %[[HH:.*]] = arith.constant {{.*}} : tensor<6x2xf32, #bspc.encoding<{
// CHECK-SAME:  group_offset = array<i64>, groups = 1 : i64, kept = 2 : i64
// CHECK-SAME:  stage = "encoded"
// CHECK:       "bspc.gru"(%arg0, %arg1, %[[IH]], %[[HH]], {{.*}} {bspc.dense = ["no zeros", ""]
func.func @gru(%x: tensor<?x1x1xf32>, %state: tensor<1x1x2xf32>) -> tensor<?x1x2xf32> {
  %w_ih = arith.constant dense<1.0> : tensor<6x1xf32>
  %w_hh = arith.constant dense<[[0., 0.], [0., 0.], [3., 0.], [0., 0.], [0., 0.], [4., 0.]]>
      : tensor<6x2xf32>
  %b = arith.constant dense<0.0> : tensor<6xf32>
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh, %b, %b) {layer = 0 : i64, name = "gru.l0"}
      : (tensor<?x1x1xf32>, tensor<1x1x2xf32>, tensor<6x1xf32>, tensor<6x2xf32>, tensor<6xf32>,
         tensor<6xf32>) -> (tensor<?x1x2xf32>, tensor<1x1x2xf32>)
  return %y : tensor<?x1x2xf32>
}

// -----

// A matrix that is all zeros has no groups, and is no special case.
// CHECK-LABEL: func.func @all_pruned
// CHECK:       groups = 0 : i64, kept = 0 : i64
// CHECK:       bspc.matmul
func.func @all_pruned(%x: tensor<1x5xf32>) -> tensor<1x3xf32> {
  %w = arith.constant dense<0.0> : tensor<5x3xf32>
  %f = arith.constant dense<0.0> : tensor<1x3xf32>
  %y = linalg.matmul ins(%x, %w : tensor<1x5xf32>, tensor<5x3xf32>) outs(%f : tensor<1x3xf32>)
      -> tensor<1x3xf32>
  return %y : tensor<1x3xf32>
}

// -----

// Every row its own pattern: the op says why, with the numbers.
// CHECK-LABEL: func.func @scattered
// CHECK-NOT:   bspc.encoding
// CHECK:       bspc.dense = ["too little block structure: 4 of 16 weights kept, in 4 row patterns;
func.func @scattered(%x: tensor<1x4xf32>) -> tensor<1x4xf32> {
  %w = arith.constant dense<[[1., 0., 0., 0.], [0., 0., 1., 0.], [0., 1., 0., 0.],
      [0., 0., 0., 1.]]> : tensor<4x4xf32>
  %f = arith.constant dense<0.0> : tensor<1x4xf32>
  %y = linalg.matmul ins(%x, %w : tensor<1x4xf32>, tensor<4x4xf32>) outs(%f : tensor<1x4xf32>)
      -> tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}

// -----

// Left alone: no constant; no f32; a constant that differs along the batch; two summed dimensions;
// a product that is not summed.
// CHECK-LABEL: func.func @no_match
// CHECK-NOT:   bspc.
// CHECK:       return
#map = affine_map<(d0, d1) -> (d0, d1)>
func.func @no_match(%x: tensor<2x2xf32>, %d: tensor<2x2xf64>, %b: tensor<2x1x2xf32>)
    -> (tensor<2x2xf32>, tensor<2x2xf64>, tensor<2x1x2xf32>, tensor<1x2xf32>, tensor<2x2xf32>) {
  %w = arith.constant dense<[[1., 0.], [0., 0.]]> : tensor<2x2xf32>
  %w64 = arith.constant dense<[[1., 0.], [0., 0.]]> : tensor<2x2xf64>
  %wb = arith.constant dense<[[[1., 0.], [0., 0.]], [[0., 0.], [1., 0.]]]> : tensor<2x2x2xf32>
  %f = arith.constant dense<0.0> : tensor<2x2xf32>
  %f64 = arith.constant dense<0.0> : tensor<2x2xf64>
  %fb = arith.constant dense<0.0> : tensor<2x1x2xf32>
  %f1 = arith.constant dense<0.0> : tensor<1x2xf32>
  %0 = linalg.matmul ins(%x, %x : tensor<2x2xf32>, tensor<2x2xf32>) outs(%f : tensor<2x2xf32>)
      -> tensor<2x2xf32>
  %1 = linalg.matmul ins(%d, %w64 : tensor<2x2xf64>, tensor<2x2xf64>) outs(%f64 : tensor<2x2xf64>)
      -> tensor<2x2xf64>
  %2 = linalg.batch_matmul ins(%b, %wb : tensor<2x1x2xf32>, tensor<2x2x2xf32>)
      outs(%fb : tensor<2x1x2xf32>) -> tensor<2x1x2xf32>
  %3 = linalg.batch_reduce_matmul ins(%b, %wb : tensor<2x1x2xf32>, tensor<2x2x2xf32>)
      outs(%f1 : tensor<1x2xf32>) -> tensor<1x2xf32>
  %4 = linalg.generic {indexing_maps = [#map, #map, #map], iterator_types = ["parallel", "parallel"]}
      ins(%x, %w : tensor<2x2xf32>, tensor<2x2xf32>) outs(%f : tensor<2x2xf32>) {
  ^bb0(%p: f32, %q: f32, %out: f32):
    %m = arith.mulf %p, %q : f32
    linalg.yield %m : f32
  } -> tensor<2x2xf32>
  return %0, %1, %2, %3, %4
      : tensor<2x2xf32>, tensor<2x2xf64>, tensor<2x1x2xf32>, tensor<1x2xf32>, tensor<2x2xf32>
}
