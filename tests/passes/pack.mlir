// RUN: bspc-opt %s --split-input-file --bspc-reorder --bspc-pack | filecheck %s
// RUN: bspc-opt %s --split-input-file --bspc-reorder --bspc-pack --bspc-pack | filecheck %s

#w = #bspc.encoding<{stage = "encoded", groups = 2 : i64, kept = 7 : i64, group_offset = array<i64>}>

// The arrays of the format; panels are column by column, rows padded to 4. Dense W is gone.
// CHECK-LABEL: func.func @matmul
// CHECK-NOT:   tensor<6x3xf32
// CHECK-DAG:   %[[REORDER:.*]] = arith.constant dense<[0, 2, 5, 3]> : tensor<4xi32>
// CHECK-DAG:   %[[GROUPS:.*]] = arith.constant dense<[0, 3, 4]> : tensor<3xi32>
// CHECK-DAG:   %[[COLUMNS:.*]] = arith.constant dense<[0, 2, 3]> : tensor<3xi32>
// CHECK-DAG:   %[[INDEX:.*]] = arith.constant dense<[0, 1, 2]> : tensor<3xi16>
// CHECK-DAG:   %[[VALUES:.*]] = arith.constant dense<[1.000000e+00, 3.000000e+00, 5.000000e+00, 0.000000e+00, 2.000000e+00, 4.000000e+00, 6.000000e+00, 0.000000e+00, 7.000000e+00, 0.000000e+00, 0.000000e+00, 0.000000e+00]> : tensor<12xf32>
// CHECK:       "bspc.packed_matmul"(%arg0, %[[REORDER]], %[[GROUPS]], %[[COLUMNS]], %[[INDEX]], %[[VALUES]])
// CHECK-SAME:  name = "fc", row_align = 4 : i64, shape = array<i64: 6, 3>
func.func @matmul(%x: tensor<?x3xf32>) -> tensor<?x6xf32> {
  %w = arith.constant dense<[[1., 2., 0.], [0., 0., 0.], [3., 4., 0.], [0., 0., 7.], [0., 0., 0.],
      [5., 6., 0.]]> : tensor<6x3xf32, #w>
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<?x3xf32>, tensor<6x3xf32, #w>)
      -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

// -----

// A weight without an encoding is one group of all rows and columns, zeros and all.
// CHECK-LABEL: func.func @gru
// CHECK-NOT:   tensor<3x1xf32>
// CHECK:       "bspc.packed_gru"
// CHECK-SAME:  layer = 0 : i64, name = "gru.l0", row_align = 4 : i64
// CHECK-SAME:  shape_hh = array<i64: 3, 1>, shape_ih = array<i64: 3, 2>
// CHECK-SAME:  weights = ["gru.l0.ih", "gru.l0.hh"]
func.func @gru(%x: tensor<?x1x2xf32>, %state: tensor<1x1x1xf32>) -> tensor<?x1x1xf32> {
  %w_ih = arith.constant dense<[[1., 2.], [3., 0.], [0., 0.]]> : tensor<3x2xf32>
  %w_hh = arith.constant dense<[[0.], [0.], [3.]]> : tensor<3x1xf32>
  %b = arith.constant dense<0.0> : tensor<3xf32>
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh, %b, %b) {layer = 0 : i64, name = "gru.l0"}
      : (tensor<?x1x2xf32>, tensor<1x1x1xf32>, tensor<3x2xf32>, tensor<3x1xf32>, tensor<3xf32>,
      tensor<3xf32>) -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>)
  return %y : tensor<?x1x1xf32>
}

// -----

// Three weights of an LSTM with a projection.
// CHECK-LABEL: func.func @lstmp
// CHECK:       "bspc.packed_lstmp"
// CHECK-SAME:  shape_hh = array<i64: 8, 1>, shape_hr = array<i64: 1, 2>
// CHECK-SAME:  shape_ih = array<i64: 8, 1>
// CHECK-SAME:  weights = ["lstm.l0.ih", "lstm.l0.hh", "lstm.l0.hr"]
func.func @lstmp(%x: tensor<?x1x1xf32>, %h: tensor<1x1x1xf32>, %c: tensor<1x1x2xf32>)
    -> tensor<?x1x1xf32> {
  %w_ih = arith.constant dense<[[1.], [2.], [3.], [4.], [5.], [6.], [7.], [8.]]> : tensor<8x1xf32>
  %w_hh = arith.constant dense<1.0> : tensor<8x1xf32>
  %w_hr = arith.constant dense<[[0., 2.]]> : tensor<1x2xf32>
  %b = arith.constant dense<0.0> : tensor<8xf32>
  %y:3 = "bspc.lstmp"(%x, %h, %c, %w_ih, %w_hh, %w_hr, %b, %b)
      {layer = 0 : i64, name = "lstm.l0"}
      : (tensor<?x1x1xf32>, tensor<1x1x1xf32>, tensor<1x1x2xf32>, tensor<8x1xf32>,
         tensor<8x1xf32>, tensor<1x2xf32>, tensor<8xf32>, tensor<8xf32>)
      -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>, tensor<1x1x2xf32>)
  return %y#0 : tensor<?x1x1xf32>
}

// -----

// Nothing of ours, nothing done.
// CHECK-LABEL: func.func @other
// CHECK-NEXT:  return
func.func @other(%x: tensor<2xf32>) -> tensor<2xf32> {
  return %x : tensor<2xf32>
}
