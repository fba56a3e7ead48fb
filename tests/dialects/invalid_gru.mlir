// RUN: bspc-opt %s --split-input-file --verify-diagnostics
// Every rule of bspc.gru, broken once.

func.func @rank_of_x(
    %x: tensor<?x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: x is tensor<?x5xf32>; use 3 dimensions}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @dynamic_hidden(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x?xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: the state's last dimension [?] is dynamic}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x?xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @batch_of_state(
    %x: tensor<?x1x5xf32>, %state: tensor<2x2x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: state is [2, 2, 3]; the other operands need [?, 1, 3]}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x2x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x2x3xf32>)
  return
}

// -----

func.func @steps_of_y(
    %x: tensor<7x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: y is [8, 1, 3]; the other operands need [7, 1, 3]}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<7x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<8x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @next_state(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{the state that is returned is [3, 1, 3]}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<3x1x3xf32>)
  return
}

// -----

func.func @bias_ih(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<8xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: b_ih is [8]; the other operands need [9]}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<8xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @bias_hh(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9x1xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: b_hh is tensor<9x1xf32>; use 1 dimensions}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9x1xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @layer(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{layer 2 of a state [2, 1, 3]; use 0 to its first dimension - 1}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 2 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @negative_layer(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: layer -1 of a state [2, 1, 3]}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = -1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @layer_type(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: layer is "a"; use an i64}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = "a", name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @gates(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<6x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: w_ih [6, 5] without a reorder; the results need 9 rows}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<6x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @inputs(
    %x: tensor<?x1x4xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: w_ih has 5 columns; the other operands need 4}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x4xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @units(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x4xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: w_hh has 4 columns; the other operands need 3}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x4xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @two_reorders(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>,
    %r0: tensor<9xi32>) {
  // expected-error@+1 {{2 reorder operands; give one for all weights, or none}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh, %r0, %r0)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>, tensor<9xi32>, tensor<9xi32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @reorder_length(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>,
    %r0: tensor<17xi32>) {
  // expected-error@+1 {{bspc.gru gru.l1: reorder is [17]; the other operands need [18]}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh, %r0)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>,
      tensor<9xf32>, tensor<9xf32>, tensor<17xi32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @reorder_hh_twice(
    %x: tensor<?x1x1xf32>, %state: tensor<1x1x1xf32>, %w: tensor<3x1xf32>, %b: tensor<3xf32>) {
  %r = arith.constant dense<[2, 0, 1, 0, 1, 1]> : tensor<6xi32>
  // expected-error@+1 {{bspc.gru: the reorder of w_hh must hold distinct rows of 0 to 2}}
  %y, %next = "bspc.gru"(%x, %state, %w, %w, %b, %b, %r) {layer = 0 : i64} : (
      tensor<?x1x1xf32>, tensor<1x1x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>, tensor<3xf32>,
      tensor<3xf32>, tensor<6xi32>) -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>)
  return
}

// -----

#e = #bspc.encoding<{stage = "x", groups = 1 : i64, kept = 2 : i64, group_offset = array<i64>}>
func.func @encoding_of_w_hh(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32, #e>, %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.gru gru.l1: w_hh: stage "x"; use one of encoded, reordered, merged}}
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>, tensor<9x3xf32, #e>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}
