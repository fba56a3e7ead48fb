// RUN: bspc-opt %s --split-input-file --verify-diagnostics
// Every rule of bspc.matmul and of a weight and its reorder, broken once.

func.func @rank(%x: tensor<f32>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{bspc.matmul fc: x [], y []; use ranks that are equal and 1 or more}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<f32>, tensor<3x4xf32>) -> tensor<f32>
  return
}

// -----

func.func @rank_of_y(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{bspc.matmul fc: x [2, 4], y [3]; use ranks that are equal}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf32>, tensor<3x4xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @element_type_of_x(%x: tensor<2x4xf64>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{bspc.matmul fc: x is tensor<2x4xf64>; use a ranked tensor of f32}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf64>, tensor<3x4xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @unranked_w(%x: tensor<2x4xf32>, %w: tensor<*xf32>) {
  // expected-error@+1 {{bspc.matmul fc: w is tensor<*xf32>; use a ranked tensor of f32}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf32>, tensor<*xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @rank_of_w(%x: tensor<2x4xf32>, %w: tensor<4xf32>) {
  // expected-error@+1 {{bspc.matmul fc: w is tensor<4xf32>; use 2 dimensions}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @dynamic_rows(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{y's last dimension [?] is dynamic; only steps and batch may be}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf32>, tensor<3x4xf32>) -> tensor<2x?xf32>
  return
}

// -----

func.func @dynamic_w(%x: tensor<2x4xf32>, %w: tensor<?x4xf32>) {
  // expected-error@+1 {{bspc.matmul fc: w [?, 4] is dynamic}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf32>, tensor<?x4xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @columns(%x: tensor<2x5xf32>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{bspc.matmul fc: x is [2, 5]; the other operands need [2, 4]}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x5xf32>, tensor<3x4xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @leading_dimensions(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{bspc.matmul fc: x is [2, 4]; the other operands need [5, 4]}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf32>, tensor<3x4xf32>) -> tensor<5x3xf32>
  return
}

// -----

func.func @rows_without_reorder(%x: tensor<2x4xf32>, %w: tensor<2x4xf32>) {
  // expected-error@+1 {{bspc.matmul fc: w [2, 4] without a reorder; the results need 3 rows}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @two_reorders(
    %x: tensor<2x4xf32>, %w: tensor<3x4xf32>, %r: tensor<3xi32>, %r2: tensor<3xi32>) {
  // expected-error@+1 {{bspc.matmul fc: 2 reorder operands; give one for all weights, or none}}
  %y = "bspc.matmul"(%x, %w, %r, %r2) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32>, tensor<3xi32>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @reorder_length(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>, %r: tensor<2xi32>) {
  // expected-error@+1 {{bspc.matmul fc: reorder is [2]; the other operands need [3]}}
  %y = "bspc.matmul"(%x, %w, %r) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32>, tensor<2xi32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @reorder_type(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>, %r: tensor<3xi64>) {
  // expected-error@+1 {{reorder is tensor<3xi64>; use a ranked tensor of i32}}
  %y = "bspc.matmul"(%x, %w, %r) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32>, tensor<3xi64>) -> tensor<2x3xf32>
  return
}

// -----

func.func @reorder_twice(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>) {
  %c = arith.constant dense<[0, 1, 1]> : tensor<3xi32>
  // expected-error@+1 {{bspc.matmul fc: the reorder of w must hold distinct rows of 0 to 2}}
  %y = "bspc.matmul"(%x, %w, %c) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @reorder_out_of_range(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>) {
  %c = arith.constant dense<[0, 1, 3]> : tensor<3xi32>
  // expected-error@+1 {{bspc.matmul fc: the reorder of w must hold distinct rows of 0 to 2}}
  %y = "bspc.matmul"(%x, %w, %c) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @reorder_negative(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>) {
  %c = arith.constant dense<[0, -1, 2]> : tensor<3xi32>
  // expected-error@+1 {{bspc.matmul fc: the reorder of w must hold distinct rows of 0 to 2}}
  %y = "bspc.matmul"(%x, %w, %c) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

// IRDL counts operands and results; the rules of the op wait for that.
func.func @operands(%x: tensor<2x4xf32>) {
  // expected-error@+1 {{op expects at least 2 operands, but got 1}}
  %y = "bspc.matmul"(%x) {name = "fc"} : (tensor<2x4xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @results(%x: tensor<2x4xf32>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{op expects exactly 1 results, but got 0}}
  "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2x4xf32>, tensor<3x4xf32>) -> ()
  return
}
