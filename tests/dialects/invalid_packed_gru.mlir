// RUN: bspc-opt %s --split-input-file --verify-diagnostics
// Every rule of bspc.packed_gru, broken once.

func.func @rank_of_x(
    %x: tensor<?x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: x is tensor<?x5xf32>; use 3 dimensions}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @dynamic_hidden(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x?xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: the state's last dimension [?] is dynamic}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x?xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @batch_of_state(
    %x: tensor<?x1x5xf32>, %state: tensor<2x2x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{state is [2, 2, 3]; the other operands need [?, 1, 3]}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x2x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x2x3xf32>)
  return
}

// -----

func.func @steps_of_y(
    %x: tensor<7x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: y is [8, 1, 3]; the other operands need [7, 1, 3]}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<7x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<8x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @next_state(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{the state that is returned is [3, 1, 3]}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<3x1x3xf32>)
  return
}

// -----

func.func @bias_ih(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<8xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: b_ih is [8]; the other operands need [9]}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<8xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @bias_hh(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9x1xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: b_hh is tensor<9x1xf32>; use 1 dimensions}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9x1xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @layer(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{layer 2 of a state [2, 1, 3]; use 0 to its first dimension - 1}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 2 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @negative_layer(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: layer -1 of a state [2, 1, 3]}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = -1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @shape_ih(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: shape_ih is [6, 5]; the operands need [9, 5]}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 6, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @inputs(
    %x: tensor<?x1x4xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: shape_ih is [9, 5]; the operands need [9, 4]}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x4xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @shape_hh(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{bspc.packed_gru gru.l1: shape_hh is [9, 4]; the operands need [9, 3]}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 4>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @array_of_hh(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<2xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf64>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{hh_values is tensor<36xf64>; use a ranked tensor of f32 or f16 or i16 or i8}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<2xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf64>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}

// -----

func.func @offsets_of_ih(
    %x: tensor<?x1x5xf32>, %state: tensor<2x1x3xf32>, %ih_reorder: tensor<9xi32>,
    %ih_group_offset: tensor<2xi32>, %ih_column_offset: tensor<3xi32>,
    %ih_column_index: tensor<5xi16>,
    %ih_values: tensor<60xf32>, %hh_reorder: tensor<9xi32>, %hh_group_offset: tensor<2xi32>,
    %hh_column_offset: tensor<2xi32>, %hh_column_index: tensor<3xi16>, %hh_values: tensor<36xf32>,
    %b_ih: tensor<9xf32>, %b_hh: tensor<9xf32>) {
  // expected-error@+1 {{ih_group_offset has 2 entries, ih_column_offset 3; both need groups + 1}}
  %y, %next = "bspc.packed_gru"(%x, %state, %ih_reorder, %ih_group_offset,
      %ih_column_offset, %ih_column_index, %ih_values, %hh_reorder,
      %hh_group_offset, %hh_column_offset, %hh_column_index, %hh_values,
      %b_ih, %b_hh)
      {layer = 1 : i64, name = "gru.l1",
       row_align = 4 : i64, shape_hh = array<i64: 9, 3>, shape_ih = array<i64: 9, 5>} : (
      tensor<?x1x5xf32>, tensor<2x1x3xf32>, tensor<9xi32>, tensor<2xi32>,
      tensor<3xi32>, tensor<5xi16>, tensor<60xf32>, tensor<9xi32>,
      tensor<2xi32>, tensor<2xi32>, tensor<3xi16>, tensor<36xf32>,
      tensor<9xf32>, tensor<9xf32>) -> (tensor<?x1x3xf32>, tensor<2x1x3xf32>)
  return
}
