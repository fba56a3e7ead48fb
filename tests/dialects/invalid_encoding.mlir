// RUN: bspc-opt %s --split-input-file --verify-diagnostics
// Every rule of #bspc.encoding, broken once.

func.func @foreign(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, 1 : i64>) {
  // expected-error@+1 {{bspc.matmul fc: w: encoding 1 : i64; use #bspc.encoding or none}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, 1 : i64>) -> tensor<2x3xf32>
  return
}

// -----

// expected-error@+1 {{expected base attribute 'builtin.dictionary' but got 'builtin.integer'}}
func.func @no_dictionary(%w: tensor<3x4xf32, #bspc.encoding<1 : i64>>) {
  return
}

// -----

#e = #bspc.encoding<{stage = "packed", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64>}>
func.func @stage(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>, %r: tensor<3xi32>) {
  // expected-error@+1 {{bspc.matmul fc: w: stage "packed"; use one of encoded, reordered, merged}}
  %y = "bspc.matmul"(%x, %w, %r) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @no_stage(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #bspc.encoding<{}>>) {
  // expected-error@+1 {{bspc.matmul fc: w: stage None; use one of encoded, reordered, merged}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #bspc.encoding<{}>>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "encoded", groups = "one", kept = 2 : i64,
                     group_offset = array<i64>}>
func.func @groups(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>) {
  // expected-error@+1 {{bspc.matmul fc: w: groups is "one"; use an i64 of 0 or more}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = -1 : i64,
                     group_offset = array<i64>}>
func.func @negative_kept(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>) {
  // expected-error@+1 {{bspc.matmul fc: w: kept is -1 : i64; use an i64 of 0 or more}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "encoded", groups = 1 : i64, group_offset = array<i64>}>
func.func @no_kept(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>) {
  // expected-error@+1 {{bspc.matmul fc: w: kept is None; use an i64 of 0 or more}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64>, loads_after = -2 : i64}>
func.func @loads(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>) {
  // expected-error@+1 {{bspc.matmul fc: w: loads_after is -2 : i64; use an i64 of 0 or more}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = 2 : i64, group_offset = [0, 3]}>
func.func @group_offset_type(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>) {
  // expected-error@+1 {{bspc.matmul fc: w: group_offset is [0, 3]; use array<i64: ...>}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64: 0, 3>}>
func.func @group_offset_encoded(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>) {
  // expected-error@+1 {{bspc.matmul fc: w: group_offset [0, 3] at stage "encoded"; leave it empty}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "reordered", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64: 0, 1, 3>}>
func.func @group_offset_length(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>, %r: tensor<3xi32>) {
  // expected-error@+1 {{bspc.matmul fc: w: 3 entries of group_offset for 1 groups; use groups + 1}}
  %y = "bspc.matmul"(%x, %w, %r) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "merged", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64: 1, 3>}>
func.func @group_offset_start(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>, %r: tensor<3xi32>) {
  // expected-error@+1 {{w: group_offset [1, 3] must ascend from 0 to 3 rows or less}}
  %y = "bspc.matmul"(%x, %w, %r) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "merged", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64: 0, 4>}>
func.func @group_offset_end(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>, %r: tensor<3xi32>) {
  // expected-error@+1 {{w: group_offset [0, 4] must ascend from 0 to 3 rows or less}}
  %y = "bspc.matmul"(%x, %w, %r) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "merged", groups = 3 : i64, kept = 2 : i64,
                     group_offset = array<i64: 0, 2, 1, 3>}>
func.func @group_offset_descending(
    %x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>, %r: tensor<3xi32>) {
  // expected-error@+1 {{w: group_offset [0, 2, 1, 3] must ascend from 0 to 3 rows or less}}
  %y = "bspc.matmul"(%x, %w, %r) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "reordered", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64: 0, 3>}>
func.func @no_reorder(%x: tensor<2x4xf32>, %w: tensor<3x4xf32, #e>) {
  // expected-error@+1 {{w: stage "reordered" without a reorder; give the rows in order}}
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "merged", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64: 0, 1>}>
func.func @rows_of_no_group(%x: tensor<2x4xf32>, %r: tensor<3xi32>) {
  %cw = arith.constant dense<[[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]>
      : tensor<3x4xf32, #e>
  // expected-error@+1 {{bspc.matmul fc: w: rows from 1 on are in no group, but not all zero}}
  %y = "bspc.matmul"(%x, %cw, %r) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>, tensor<3xi32>) -> tensor<2x3xf32>
  return
}

// -----

#e = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = 2 : i64,
                     group_offset = array<i64>}>
func.func @kept(%x: tensor<2x4xf32>) {
  %cw = arith.constant dense<[[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]>
      : tensor<3x4xf32, #e>
  // expected-error@+1 {{bspc.matmul fc: w: kept = 2, but 3 weights are nonzero}}
  %y = "bspc.matmul"(%x, %cw) {name = "fc"}
      : (tensor<2x4xf32>, tensor<3x4xf32, #e>) -> tensor<2x3xf32>
  return
}
