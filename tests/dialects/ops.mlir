// RUN: bspc-opt %s | filecheck %s
// RUN: bspc-opt %s --mlir-print-op-generic | filecheck %s
// RUN: bspc-opt %s --pass-pipeline=builtin.module(canonicalize,cse) \
// RUN:     | filecheck %s --check-prefix CSE
// Every op is accepted and printed. None has an effect, so equal ones are one and unused ones go.

#encoded = #bspc.encoding<{stage = "encoded", groups = 1 : i64, kept = 4 : i64,
                           group_offset = array<i64>, loads_before = 4 : i64}>
#merged = #bspc.encoding<{stage = "merged", groups = 2 : i64, kept = 4 : i64,
                          group_offset = array<i64: 0, 1, 2>}>

// CHECK: matmul_plain
// CHECK: %[[Y:.*]] = "bspc.matmul"(%{{[a-z0-9_]+}}, %{{[a-z0-9_]+}}) {name = "fc"}
// CHECK-SAME: (tensor<2x?x4xf32>, tensor<3x4xf32>) -> tensor<2x?x3xf32>
// CSE: matmul_plain
// CSE: %[[Y:.*]] = "bspc.matmul"
// CSE-NOT: bspc.matmul
// CSE: return %[[Y]], %[[Y]]
func.func @matmul_plain(%x: tensor<2x?x4xf32>, %w: tensor<3x4xf32>)
    -> (tensor<2x?x3xf32>, tensor<2x?x3xf32>) {
  %y = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x?x4xf32>, tensor<3x4xf32>) -> tensor<2x?x3xf32>
  %same = "bspc.matmul"(%x, %w) {name = "fc"}
      : (tensor<2x?x4xf32>, tensor<3x4xf32>) -> tensor<2x?x3xf32>
  %unused = "bspc.matmul"(%x, %w) {name = "unused"}
      : (tensor<2x?x4xf32>, tensor<3x4xf32>) -> tensor<2x?x3xf32>
  return %y, %same : tensor<2x?x3xf32>, tensor<2x?x3xf32>
}

// CHECK: matmul_encoded
// CHECK: tensor<3x4xf32, #bspc.encoding<{group_offset = array<i64>, groups = 1 : i64,
// CHECK-SAME: kept = 4 : i64, loads_before = 4 : i64, stage = "encoded"}>>
func.func @matmul_encoded(%x: tensor<4xf32>) -> tensor<3xf32> {
  %w = arith.constant dense<[[0.0, 1.0, 0.0, 2.0], [0.0, 3.0, 0.0, 4.0], [0.0, 0.0, 0.0, 0.0]]>
      : tensor<3x4xf32, #encoded>
  %y = "bspc.matmul"(%x, %w) : (tensor<4xf32>, tensor<3x4xf32, #encoded>) -> tensor<3xf32>
  return %y : tensor<3xf32>
}

// CHECK: matmul_merged
// CHECK: "bspc.matmul"(%{{[a-z0-9_]+}}, %{{[a-z0-9_]+}}, %{{[a-z0-9_]+}})
// CHECK-SAME: group_offset = array<i64: 0, 1, 2>
// CHECK-SAME: tensor<3xi32>) -> tensor<?x3xf32>
func.func @matmul_merged(%x: tensor<?x4xf32>) -> tensor<?x3xf32> {
  %w = arith.constant dense<[[0.0, 1.0, 0.0, 2.0], [5.0, 0.0, 6.0, 0.0], [0.0, 0.0, 0.0, 0.0]]>
      : tensor<3x4xf32, #merged>
  %r = arith.constant dense<[2, 0, 1]> : tensor<3xi32>
  %y = "bspc.matmul"(%x, %w, %r)
      : (tensor<?x4xf32>, tensor<3x4xf32, #merged>, tensor<3xi32>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}

// CHECK: gru_plain
// CHECK: "bspc.gru"(%{{[^)]*}}) {layer = 1 : i64}
// CSE: gru_plain
// CSE: bspc.gru
func.func @gru_plain(%x: tensor<?x2x5xf32>, %state: tensor<2x2x3xf32>, %w_ih: tensor<9x5xf32>,
    %w_hh: tensor<9x3xf32>, %b: tensor<9xf32>) -> (tensor<?x2x3xf32>, tensor<2x2x3xf32>) {
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh, %b, %b) {layer = 1 : i64}
      : (tensor<?x2x5xf32>, tensor<2x2x3xf32>, tensor<9x5xf32>, tensor<9x3xf32>, tensor<9xf32>,
         tensor<9xf32>) -> (tensor<?x2x3xf32>, tensor<2x2x3xf32>)
  return %y, %next : tensor<?x2x3xf32>, tensor<2x2x3xf32>
}

// CHECK: gru_reordered
// CHECK: "bspc.gru"(%{{[^)]*}}) {layer = 0
// CSE: gru_reordered
// CSE-NOT: bspc.gru
// CSE: return
func.func @gru_reordered(%x: tensor<7x1x5xf32>, %state: tensor<1x1x1xf32>, %w_ih: tensor<3x5xf32>,
    %w_hh: tensor<3x1xf32>, %b: tensor<3xf32>, %r: tensor<6xi32>) {
  %y, %next = "bspc.gru"(%x, %state, %w_ih, %w_hh, %b, %b, %r) {layer = 0 : i64}
      : (tensor<7x1x5xf32>, tensor<1x1x1xf32>, tensor<3x5xf32>, tensor<3x1xf32>, tensor<3xf32>,
         tensor<3xf32>, tensor<6xi32>) -> (tensor<7x1x1xf32>, tensor<1x1x1xf32>)
  return
}

// CHECK: packed_matmul
// CHECK: "bspc.packed_matmul"(%{{[^)]*}}) {row_align = 4 : i64, shape = array<i64: 3, 4>}
func.func @packed_matmul(%x: tensor<?x4xf32>) -> tensor<?x3xf32> {
  %r = arith.constant dense<[2, 0]> : tensor<2xi32>
  %g = arith.constant dense<[0, 2]> : tensor<2xi32>
  %c = arith.constant dense<[0, 1]> : tensor<2xi32>
  %i = arith.constant dense<3> : tensor<1xi16>
  %v = arith.constant dense<[1.0, 2.0, 0.0, 0.0]> : tensor<4xf32>
  %y = "bspc.packed_matmul"(%x, %r, %g, %c, %i, %v)
      {row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (tensor<?x4xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi16>,
         tensor<4xf32>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}

// CHECK: packed_nothing
// CHECK: "bspc.packed_matmul"
func.func @packed_nothing(%x: tensor<4xf32>) -> tensor<3xf32> {
  %none = arith.constant dense<> : tensor<0xi32>
  %zero = arith.constant dense<0> : tensor<1xi32>
  %i = arith.constant dense<> : tensor<0xi16>
  %v = arith.constant dense<> : tensor<0xf32>
  %y = "bspc.packed_matmul"(%x, %none, %zero, %zero, %i, %v)
      {row_align = 4 : i64, shape = array<i64: 3, 4>}
      : (tensor<4xf32>, tensor<0xi32>, tensor<1xi32>, tensor<1xi32>, tensor<0xi16>, tensor<0xf32>)
      -> tensor<3xf32>
  return %y : tensor<3xf32>
}

// CHECK: packed_gru
// CHECK: "bspc.packed_gru"
// CHECK-SAME: shape_hh = array<i64: 3, 1>, shape_ih = array<i64: 3, 5>
func.func @packed_gru(%x: tensor<?x1x5xf32>, %state: tensor<1x1x1xf32>, %r: tensor<3xi32>,
    %o: tensor<2xi32>, %i: tensor<5xi16>, %v: tensor<20xf32>, %i1: tensor<1xi16>,
    %v1: tensor<4xf32>, %b: tensor<3xf32>) -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>) {
  %y, %next = "bspc.packed_gru"(%x, %state, %r, %o, %o, %i, %v, %r, %o, %o, %i1, %v1, %b, %b)
      {layer = 0 : i64, row_align = 4 : i64,
       shape_hh = array<i64: 3, 1>, shape_ih = array<i64: 3, 5>}
      : (tensor<?x1x5xf32>, tensor<1x1x1xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2xi32>,
         tensor<5xi16>, tensor<20xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2xi32>,
         tensor<1xi16>, tensor<4xf32>, tensor<3xf32>, tensor<3xf32>)
      -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>)
  return %y, %next : tensor<?x1x1xf32>, tensor<1x1x1xf32>
}
