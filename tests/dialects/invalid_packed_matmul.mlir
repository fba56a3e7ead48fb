// RUN: bspc-opt %s --split-input-file --verify-diagnostics
// Every rule of bspc.packed_matmul and of the arrays of the format, broken once.

func.func @rank(
    %x: tensor<f32>, %r: tensor<2xi32>, %g: tensor<2xi32>, %c: tensor<2xi32>,
    %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{x [], y [3]; use ranks that are equal and 1 or more}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<f32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<3xf32>
  return
}

// -----

func.func @columns(
    %x: tensor<2x5xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{bspc.packed_matmul fc: x is [2, 5]; the other operands need [2, 4]}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x5xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @rows(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{bspc.packed_matmul fc: y is [2, 5]; the other operands need [2, 3]}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x5xf32>
  return
}

// -----

func.func @shape_type(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{bspc.packed_matmul fc: shape is [3, 4]; use array<i64: rows, columns>}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = [3, 4]}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @shape_length(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{shape is array<i64: 3>; use array<i64: rows, columns>}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @shape_negative(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{shape is array<i64: -3, 4>; use array<i64: rows, columns>}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: -3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @row_align_type(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{bspc.packed_matmul fc: row_align is 4.000000e+00 : f32; use an i64}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4.0 : f32, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @row_align(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{bspc.packed_matmul fc: row_align is 5; use one of [4, 8, 16, 32, 64]}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 5 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @bits(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xi8>) {
  // expected-error@+1 {{bspc.packed_matmul fc: bits is 5; use 4, or none}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {bits = 5 : i64, name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xi8>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @type_of_reorder(
    %x: tensor<2x4xf32>, %r: tensor<2xi64>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{reorder is tensor<2xi64>; use a ranked tensor of i32}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi64>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @type_of_group_offset(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi64>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{group_offset is tensor<2xi64>; use a ranked tensor of i32}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi64>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @type_of_column_offset(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi64>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{column_offset is tensor<2xi64>; use a ranked tensor of i32}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @type_of_column_index(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi32>, %v: tensor<4xf32>) {
  // expected-error@+1 {{column_index is tensor<1xi32>; use a ranked tensor of i16}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @type_of_values(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf64>) {
  // expected-error@+1 {{values is tensor<4xf64>; use a ranked tensor of f32 or f16 or i16 or i8}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf64>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @wide_index(
    %x: tensor<2x65537xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{column_index is tensor<1xi16>; use a ranked tensor of i32}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 65537>}
      : (
      tensor<2x65537xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>,
      tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @rank_of_values(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<2xi32>, %i: tensor<1xi16>, %v: tensor<2x2xf32>) {
  // expected-error@+1 {{bspc.packed_matmul fc: values is tensor<2x2xf32>; use 1 dimensions}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<2x2xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @offsets_differ(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<2xi32>,
    %c: tensor<3xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{group_offset has 2 entries, column_offset 3; both need groups + 1}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<3xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @offsets_empty(
    %x: tensor<2x4xf32>, %r: tensor<2xi32>, %g: tensor<0xi32>,
    %c: tensor<0xi32>, %i: tensor<1xi16>, %v: tensor<4xf32>) {
  // expected-error@+1 {{group_offset has 0 entries, column_offset 0; both need groups + 1}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<0xi32>, tensor<0xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @reorder_values(%x: tensor<2x4xf32>) {
  %r = arith.constant dense<[0, 3]> : tensor<2xi32>
  %g = arith.constant dense<[0, 2]> : tensor<2xi32>
  %c = arith.constant dense<[0, 1]> : tensor<2xi32>
  %i = arith.constant dense<1> : tensor<1xi16>
  %v = arith.constant dense<2.0> : tensor<4xf32>
  // expected-error@+1 {{bspc.PackedMatrix [3, 4]: reorder must hold distinct rows below 3}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @group_offset_values(%x: tensor<2x4xf32>) {
  %r = arith.constant dense<[0, 2]> : tensor<2xi32>
  %g = arith.constant dense<[0, 1]> : tensor<2xi32>
  %c = arith.constant dense<[0, 1]> : tensor<2xi32>
  %i = arith.constant dense<1> : tensor<1xi16>
  %v = arith.constant dense<2.0> : tensor<4xf32>
  // expected-error@+1 {{group_offset must run from 0, never descending, to 2, the size of reorder}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @group_offset_descending(%x: tensor<2x4xf32>) {
  %r = arith.constant dense<[0, 2]> : tensor<2xi32>
  %g = arith.constant dense<[0, 3, 2]> : tensor<3xi32>
  %c = arith.constant dense<[0, 1, 1]> : tensor<3xi32>
  %i = arith.constant dense<1> : tensor<1xi16>
  %v = arith.constant dense<2.0> : tensor<4xf32>
  // expected-error@+1 {{bspc.PackedMatrix [3, 4]: group_offset must run from 0}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<3xi32>, tensor<3xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @column_offset_values(%x: tensor<2x4xf32>) {
  %r = arith.constant dense<[0, 2]> : tensor<2xi32>
  %g = arith.constant dense<[0, 2]> : tensor<2xi32>
  %c = arith.constant dense<[1, 1]> : tensor<2xi32>
  %i = arith.constant dense<1> : tensor<1xi16>
  %v = arith.constant dense<2.0> : tensor<4xf32>
  // expected-error@+1 {{column_offset must run from 0, never descending, to 1, the size of column_index}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @column_index_values(%x: tensor<2x4xf32>) {
  %r = arith.constant dense<[0, 2]> : tensor<2xi32>
  %g = arith.constant dense<[0, 2]> : tensor<2xi32>
  %c = arith.constant dense<[0, 1]> : tensor<2xi32>
  %i = arith.constant dense<4> : tensor<1xi16>
  %v = arith.constant dense<2.0> : tensor<4xf32>
  // expected-error@+1 {{column_index must ascend in each group and stay below 4}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<4xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @column_index_order(%x: tensor<2x4xf32>) {
  %r = arith.constant dense<[0, 2]> : tensor<2xi32>
  %g = arith.constant dense<[0, 2]> : tensor<2xi32>
  %c = arith.constant dense<[0, 2]> : tensor<2xi32>
  %i = arith.constant dense<[2, 1]> : tensor<2xi16>
  %v = arith.constant dense<2.0> : tensor<8xf32>
  // expected-error@+1 {{column_index must ascend in each group and stay below 4}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi16>, tensor<8xf32>)
      -> tensor<2x3xf32>
  return
}

// -----

func.func @values_length(%x: tensor<2x4xf32>) {
  %r = arith.constant dense<[0, 2]> : tensor<2xi32>
  %g = arith.constant dense<[0, 2]> : tensor<2xi32>
  %c = arith.constant dense<[0, 1]> : tensor<2xi32>
  %i = arith.constant dense<1> : tensor<1xi16>
  %v = arith.constant dense<2.0> : tensor<5xf32>
  // expected-error@+1 {{bspc.PackedMatrix [3, 4]: 5 values; its groups need 4}}
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (
      tensor<2x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>, tensor<5xf32>)
      -> tensor<2x3xf32>
  return
}
