// RUN: bspc-opt %s --split-input-file --bspc-eliminate-dead-units | filecheck %s
// RUN: bspc-opt %s --split-input-file --bspc-eliminate-dead-units --bspc-eliminate-dead-units \
// RUN:   | filecheck %s

// Of two units the linear layer reads the first; the first does not read the second.
// CHECK-LABEL: func.func @unread
// CHECK:       dense<{{\[\[}}1.000000e+00], [0.000000e+00], [2.000000e+00], [0.000000e+00], [3.000000e+00], [0.000000e+00]]>
// CHECK:       bspc.dead_units = 1 : i64
func.func @unread(%x: tensor<?x1x1xf32>, %state: tensor<1x1x2xf32>) -> tensor<?x1x1xf32> {
  %w_ih = arith.constant dense<[[1.], [7.], [2.], [8.], [3.], [9.]]> : tensor<6x1xf32>
  %w_hh = arith.constant dense<[[1., 0.], [0., 1.], [1., 0.], [0., 1.], [1., 0.], [1., 1.]]>
      : tensor<6x2xf32>
  %b = arith.constant dense<0.5> : tensor<6xf32>
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh, %b, %b) {layer = 0 : i64, name = "gru.l0"}
      : (tensor<?x1x1xf32>, tensor<1x1x2xf32>, tensor<6x1xf32>, tensor<6x2xf32>, tensor<6xf32>,
         tensor<6xf32>) -> (tensor<?x1x2xf32>, tensor<1x1x2xf32>)
  %w = arith.constant dense<[[4., 0.]]> : tensor<1x2xf32>
  %z = "bspc.matmul"(%y, %w) {name = "fc"}
      : (tensor<?x1x2xf32>, tensor<1x2xf32>) -> tensor<?x1x1xf32>
  return %z : tensor<?x1x1xf32>
}

// -----

// The same, but the state leaves the function: every unit is read.
// CHECK-LABEL: func.func @state_leaves
// CHECK-NOT:   bspc.dead_units
// CHECK:       return
func.func @state_leaves(%x: tensor<?x1x1xf32>, %state: tensor<1x1x2xf32>)
    -> (tensor<?x1x1xf32>, tensor<1x1x2xf32>) {
  %w_ih = arith.constant dense<1.0> : tensor<6x1xf32>
  %w_hh = arith.constant dense<[[1., 0.], [0., 1.], [1., 0.], [0., 1.], [1., 0.], [1., 1.]]>
      : tensor<6x2xf32>
  %b = arith.constant dense<0.5> : tensor<6xf32>
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh, %b, %b) {layer = 0 : i64, name = "gru.l0"}
      : (tensor<?x1x1xf32>, tensor<1x1x2xf32>, tensor<6x1xf32>, tensor<6x2xf32>, tensor<6xf32>,
         tensor<6xf32>) -> (tensor<?x1x2xf32>, tensor<1x1x2xf32>)
  %w = arith.constant dense<[[4., 0.]]> : tensor<1x2xf32>
  %z = "bspc.matmul"(%y, %w) {name = "fc"}
      : (tensor<?x1x2xf32>, tensor<1x2xf32>) -> tensor<?x1x1xf32>
  return %z, %next : tensor<?x1x1xf32>, tensor<1x1x2xf32>
}
