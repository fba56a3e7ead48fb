// RUN: bspc-opt %s --split-input-file --verify-diagnostics
// The rules of the LSTM that a GRU has not (invalid_gru.mlir), broken once each.

func.func @rank_of_c(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x3xf32>, %c: tensor<2x3xf32>, %w_ih: tensor<12x5xf32>,
    %w_hh: tensor<12x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstm lstm.l1: cell is tensor<2x3xf32>; use 3 dimensions}}
  %y, %next, %cell = "bspc.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<2x3xf32>, tensor<12x5xf32>, tensor<12x3xf32>,
      tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>, tensor<2x3xf32>)
  return
}

// -----

func.func @units_of_c(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x3xf32>, %c: tensor<2x1x4xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstm lstm.l1: the state has 3 units, the cell 4; use equal numbers}}
  %y, %next, %cell = "bspc.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<2x1x4xf32>, tensor<12x5xf32>,
      tensor<12x3xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>, tensor<2x1x4xf32>)
  return
}

// -----

func.func @rows_of_c(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x3xf32>, %c: tensor<3x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstm lstm.l1: cell is [3, 1, 3]; the other operands need [2, 1, 3]}}
  %y, %next, %cell = "bspc.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<3x1x3xf32>, tensor<12x5xf32>,
      tensor<12x3xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>, tensor<3x1x3xf32>)
  return
}

// -----

func.func @batch_of_c(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x3xf32>, %c: tensor<2x7x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstm lstm.l1: cell is [2, 7, 3]; the other operands need [2, 1, 3]}}
  %y, %next, %cell = "bspc.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<2x7x3xf32>, tensor<12x5xf32>,
      tensor<12x3xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>, tensor<2x7x3xf32>)
  return
}

// -----

func.func @next_cell(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x3xf32>, %c: tensor<2x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{the cell that is returned is [2, 1, 4]; the other operands need [2, 1, 3]}}
  %y, %next, %cell = "bspc.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<2x1x3xf32>, tensor<12x5xf32>,
      tensor<12x3xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>, tensor<2x1x4xf32>)
  return
}

// -----

func.func @gates(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x3xf32>, %c: tensor<2x1x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<12x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstm lstm.l1: w_ih [9, 5] without a reorder; the results need 12 rows}}
  %y, %next, %cell = "bspc.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<2x1x3xf32>, tensor<9x5xf32>,
      tensor<12x3xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @biases(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x3xf32>, %c: tensor<2x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x3xf32>, %b: tensor<9xf32>) {
  // expected-error@+1 {{bspc.lstm lstm.l1: b_ih is [9]; the other operands need [12]}}
  %y, %next, %cell = "bspc.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<2x1x3xf32>, tensor<12x5xf32>,
      tensor<12x3xf32>, tensor<9xf32>, tensor<9xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @units_of_w_hh(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x3xf32>, %c: tensor<2x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x4xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstm lstm.l1: w_hh has 4 columns; the other operands need 3}}
  %y, %next, %cell = "bspc.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<2x1x3xf32>, tensor<12x5xf32>,
      tensor<12x4xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @outputs_of_w_hh(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x2xf32>, %c: tensor<2x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x3xf32>, %w_hr: tensor<2x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstmp lstm.l1: w_hh has 3 columns; the other operands need 2}}
  %y, %next, %cell = "bspc.lstmp"(%x, %h, %c, %w_ih, %w_hh, %w_hr, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>, tensor<12x5xf32>,
      tensor<12x3xf32>, tensor<2x3xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x2xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @rows_of_w_hr(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x2xf32>, %c: tensor<2x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x2xf32>, %w_hr: tensor<3x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstmp lstm.l1: w_hr [3, 3] without a reorder; the results need 2 rows}}
  %y, %next, %cell = "bspc.lstmp"(%x, %h, %c, %w_ih, %w_hh, %w_hr, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>, tensor<12x5xf32>,
      tensor<12x2xf32>, tensor<3x3xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x2xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @columns_of_w_hr(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x2xf32>, %c: tensor<2x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x2xf32>, %w_hr: tensor<2x2xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstmp lstm.l1: w_hr has 2 columns; the other operands need 3}}
  %y, %next, %cell = "bspc.lstmp"(%x, %h, %c, %w_ih, %w_hh, %w_hr, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>, tensor<12x5xf32>,
      tensor<12x2xf32>, tensor<2x2xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x2xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @y_of_units(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x2xf32>, %c: tensor<2x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x2xf32>, %w_hr: tensor<2x3xf32>, %b: tensor<12xf32>) {
  // expected-error@+1 {{bspc.lstmp lstm.l1: y is [?, 1, 3]; the other operands need [?, 1, 2]}}
  %y, %next, %cell = "bspc.lstmp"(%x, %h, %c, %w_ih, %w_hh, %w_hr, %b, %b)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>, tensor<12x5xf32>,
      tensor<12x2xf32>, tensor<2x3xf32>, tensor<12xf32>, tensor<12xf32>)
      -> (tensor<?x1x3xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @reorder_of_w_hr(
    %x: tensor<?x1x5xf32>, %h: tensor<2x1x2xf32>, %c: tensor<2x1x3xf32>,
    %w_ih: tensor<12x5xf32>, %w_hh: tensor<12x2xf32>, %w_hr: tensor<2x3xf32>, %b: tensor<12xf32>) {
  %r = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2]> : tensor<26xi32>
  // expected-error@+1 {{bspc.lstmp lstm.l1: the reorder of w_hr must hold distinct rows of 0 to 1}}
  %y, %next, %cell = "bspc.lstmp"(%x, %h, %c, %w_ih, %w_hh, %w_hr, %b, %b, %r)
      {layer = 1 : i64, name = "lstm.l1"} : (
      tensor<?x1x5xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>, tensor<12x5xf32>,
      tensor<12x2xf32>, tensor<2x3xf32>, tensor<12xf32>, tensor<12xf32>, tensor<26xi32>)
      -> (tensor<?x1x2xf32>, tensor<2x1x2xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @packed_gates(%x: tensor<?x1x5xf32>, %h: tensor<1x1x1xf32>, %r: tensor<4xi32>,
    %o: tensor<2xi32>, %i: tensor<5xi16>, %v: tensor<20xf32>, %i1: tensor<1xi16>,
    %v1: tensor<4xf32>, %b: tensor<4xf32>) {
  // expected-error@+1 {{bspc.packed_lstm: shape_hh is [3, 1]; the operands need [4, 1]}}
  %y:3 = "bspc.packed_lstm"(%x, %h, %h, %r, %o, %o, %i, %v, %r, %o, %o, %i1, %v1, %b, %b)
      {layer = 0 : i64, row_align = 4 : i64,
       shape_hh = array<i64: 3, 1>, shape_ih = array<i64: 4, 5>}
      : (tensor<?x1x5xf32>, tensor<1x1x1xf32>, tensor<1x1x1xf32>, tensor<4xi32>, tensor<2xi32>,
         tensor<2xi32>, tensor<5xi16>, tensor<20xf32>, tensor<4xi32>, tensor<2xi32>,
         tensor<2xi32>, tensor<1xi16>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>)
      -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>, tensor<1x1x1xf32>)
  return
}

// -----

func.func @packed_projection(%x: tensor<?x1x5xf32>, %h: tensor<1x1x1xf32>, %r: tensor<4xi32>,
    %o: tensor<2xi32>, %i: tensor<5xi16>, %v: tensor<20xf32>, %i1: tensor<1xi16>,
    %v1: tensor<4xf32>, %r1: tensor<1xi32>, %b: tensor<4xf32>) {
  // expected-error@+1 {{bspc.packed_lstmp: shape_hr is [1, 2]; the operands need [1, 1]}}
  %y:3 = "bspc.packed_lstmp"(%x, %h, %h, %r, %o, %o, %i, %v, %r, %o, %o, %i1, %v1,
      %r1, %o, %o, %i1, %v1, %b, %b)
      {layer = 0 : i64, row_align = 4 : i64, shape_hh = array<i64: 4, 1>,
       shape_hr = array<i64: 1, 2>, shape_ih = array<i64: 4, 5>}
      : (tensor<?x1x5xf32>, tensor<1x1x1xf32>, tensor<1x1x1xf32>, tensor<4xi32>, tensor<2xi32>,
         tensor<2xi32>, tensor<5xi16>, tensor<20xf32>, tensor<4xi32>, tensor<2xi32>,
         tensor<2xi32>, tensor<1xi16>, tensor<4xf32>, tensor<1xi32>, tensor<2xi32>,
         tensor<2xi32>, tensor<1xi16>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>)
      -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>, tensor<1x1x1xf32>)
  return
}
