// RUN: bspc-opt %s --split-input-file --bspc-pack --bspc-lower | filecheck %s
// RUN: bspc-opt %s --split-input-file --bspc-pack --bspc-lower --bspc-lower | filecheck %s

// One kernel, one dispatch; its workload is the number of vectors. The kernel's code is tested by
// running it: tests/kernels.
// CHECK:       "hal.executable.source"
// CHECK:       "hal.executable.export"
// CHECK:       func.func @rtmobile_matmul_0
// CHECK-SAME:  pipeline = #iree_cpu.pipeline<Default>
// CHECK:       "hal.interface.constant.load"
// CHECK:       vector.fma
// CHECK:       sym_name = "rtmobile_matmul_0", sym_visibility = "private"
// CHECK-LABEL: func.func @matmul
// CHECK-NOT:   bspc.
// CHECK:       %[[Y:.*]] = "flow.dispatch"(%{{.*}}, %{{.*}}, %arg0, {{.*}}@rtmobile_matmul_0::@rtmobile_matmul_0
// CHECK-SAME:  tensor<?x3xf32>
// CHECK-SAME:  tensor<{{[0-9]+}}xf32>, tensor<{{[0-9]+}}xi16>, tensor<{{[0-9]+}}xi32>
// CHECK-SAME:  -> tensor<?x2xf32>
// CHECK-NOT:   bspc.
// CHECK:       return %[[Y]]
func.func @matmul(%x: tensor<?x3xf32>) -> tensor<?x2xf32> {
  %reorder = arith.constant dense<1> : tensor<1xi32>
  %group_offset = arith.constant dense<[0, 1]> : tensor<2xi32>
  %column_offset = arith.constant dense<[0, 2]> : tensor<2xi32>
  %column_index = arith.constant dense<[0, 2]> : tensor<2xi16>
  %values = arith.constant dense<[1., 0., 0., 0., 2., 0., 0., 0.]> : tensor<8xf32>
  %y = "bspc.packed_matmul"(%x, %reorder, %group_offset, %column_offset, %column_index, %values)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 2, 3>, weights = ["fc"]}
      : (tensor<?x3xf32>, tensor<1xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi16>, tensor<8xf32>)
      -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

// -----

// Layers that feed each other are one kernel, which keeps a scratch buffer of its own.
// CHECK:       func.func @rtmobile_gru_0
// CHECK-NOT:   func.func @rtmobile_gru_1
// CHECK-LABEL: func.func @stack
// CHECK:       %[[STEPS:.*]] = tensor.dim %arg0
// CHECK:       %[[Y:.*]]:3 = "flow.dispatch"(%[[STEPS]], {{.*}}@rtmobile_gru_0::@rtmobile_gru_0
// CHECK-SAME:  -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<?xf32>)
// CHECK-NOT:   flow.dispatch
// CHECK:       return %[[Y]]#0, %[[Y]]#1
func.func @stack(%x: tensor<?x1x1xf32>, %s: tensor<2x1x1xf32>)
    -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>) {
  %w = arith.constant dense<1.0> : tensor<3x1xf32>
  %b = arith.constant dense<0.0> : tensor<3xf32>
  %y0, %s0 = "bspc.gru"(%x, %s, %w, %w, %b, %b) {layer = 0 : i64, name = "gru.l0"}
      : (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>, tensor<3xf32>,
         tensor<3xf32>) -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>)
  %y1, %s1 = "bspc.gru"(%y0, %s0, %w, %w, %b, %b) {layer = 1 : i64, name = "gru.l1"}
      : (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>, tensor<3xf32>,
         tensor<3xf32>) -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>)
  return %y1, %s1 : tensor<?x1x1xf32>, tensor<2x1x1xf32>
}

// -----

// Somebody else reads what lies between the layers: two kernels.
// CHECK:         func.func @rtmobile_gru_1
// CHECK-LABEL:   func.func @seen_between
// CHECK:         %[[Y:.*]]:3 = "flow.dispatch"({{.*}}@rtmobile_gru_0::@rtmobile_gru_0
// CHECK:         %[[Z:.*]]:3 = "flow.dispatch"({{.*}} %[[Y]]#0, %[[Y]]#1, {{.*}}@rtmobile_gru_1::@rtmobile_gru_1
// CHECK:         return %[[Y]]#0, %[[Z]]#0
func.func @seen_between(%x: tensor<?x1x1xf32>, %s: tensor<2x1x1xf32>)
    -> (tensor<?x1x1xf32>, tensor<?x1x1xf32>) {
  %w = arith.constant dense<1.0> : tensor<3x1xf32>
  %b = arith.constant dense<0.0> : tensor<3xf32>
  %y0, %s0 = "bspc.gru"(%x, %s, %w, %w, %b, %b) {layer = 0 : i64, name = "gru.l0"}
      : (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>, tensor<3xf32>,
         tensor<3xf32>) -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>)
  %y1, %s1 = "bspc.gru"(%y0, %s0, %w, %w, %b, %b) {layer = 1 : i64, name = "gru.l1"}
      : (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>, tensor<3xf32>,
         tensor<3xf32>) -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>)
  return %y0, %y1 : tensor<?x1x1xf32>, tensor<?x1x1xf32>
}

// -----

// Two LSTM layers are one kernel, which hands on both states.
// CHECK:       func.func @rtmobile_lstm_0
// CHECK-NOT:   func.func @rtmobile_lstm_1
// CHECK-LABEL: func.func @lstm
// CHECK:       %[[Y:.*]]:4 = "flow.dispatch"({{.*}}, %arg0, %arg1, %arg2, {{.*}}@rtmobile_lstm_0::@rtmobile_lstm_0
// CHECK-SAME:  -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<2x1x1xf32>, tensor<?xf32>)
// CHECK-NOT:   flow.dispatch
// CHECK:       return %[[Y]]#0, %[[Y]]#2
func.func @lstm(%x: tensor<?x1x1xf32>, %h: tensor<2x1x1xf32>, %c: tensor<2x1x1xf32>)
    -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>) {
  %w = arith.constant dense<1.0> : tensor<4x1xf32>
  %b = arith.constant dense<0.0> : tensor<4xf32>
  %0:3 = "bspc.lstm"(%x, %h, %c, %w, %w, %b, %b) {layer = 0 : i64, name = "lstm.l0"}
      : (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<2x1x1xf32>, tensor<4x1xf32>,
         tensor<4x1xf32>, tensor<4xf32>, tensor<4xf32>)
      -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<2x1x1xf32>)
  %1:3 = "bspc.lstm"(%0#0, %0#1, %0#2, %w, %w, %b, %b) {layer = 1 : i64, name = "lstm.l1"}
      : (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<2x1x1xf32>, tensor<4x1xf32>,
         tensor<4x1xf32>, tensor<4xf32>, tensor<4xf32>)
      -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<2x1x1xf32>)
  return %1#0, %1#2 : tensor<?x1x1xf32>, tensor<2x1x1xf32>
}

// -----

// A projection: the state is as long as the outputs, the cell as the units.
// CHECK:       func.func @rtmobile_lstmp_0
// CHECK-LABEL: func.func @lstmp
// CHECK:       "flow.dispatch"({{.*}}@rtmobile_lstmp_0::@rtmobile_lstmp_0
// CHECK-SAME:  -> (tensor<?x1x1xf32>, tensor<1x1x1xf32>, tensor<1x1x2xf32>, tensor<?xf32>)
// CHECK-NOT:   bspc.
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

// Layers of different kinds are never one kernel, even where one feeds the other.
// CHECK:       func.func @rtmobile_rnn_relu_0
// CHECK:       arith.maximumf
// CHECK:       func.func @rtmobile_rnn_tanh_0
// CHECK-LABEL: func.func @two_kinds
// CHECK:       %[[Y:.*]]:3 = "flow.dispatch"({{.*}}@rtmobile_rnn_tanh_0::@rtmobile_rnn_tanh_0
// CHECK:       %[[Z:.*]]:3 = "flow.dispatch"({{.*}} %[[Y]]#0, %[[Y]]#1, {{.*}}@rtmobile_rnn_relu_0::@rtmobile_rnn_relu_0
// CHECK:       return %[[Z]]#0
func.func @two_kinds(%x: tensor<?x1x1xf32>, %s: tensor<2x1x1xf32>) -> tensor<?x1x1xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1xf32>
  %b = arith.constant dense<0.0> : tensor<1xf32>
  %0:2 = "bspc.rnn_tanh"(%x, %s, %w, %w, %b, %b) {layer = 0 : i64, name = "rnn.l0"}
      : (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<1x1xf32>, tensor<1x1xf32>, tensor<1xf32>,
         tensor<1xf32>) -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>)
  %1:2 = "bspc.rnn_relu"(%0#0, %0#1, %w, %w, %b, %b) {layer = 1 : i64, name = "rnn.l1"}
      : (tensor<?x1x1xf32>, tensor<2x1x1xf32>, tensor<1x1xf32>, tensor<1x1xf32>, tensor<1xf32>,
         tensor<1xf32>) -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>)
  return %1#0 : tensor<?x1x1xf32>
}

// -----

// Nothing packed, nothing done.
// CHECK-LABEL: func.func @other
// CHECK-NEXT:  linalg.matmul
// CHECK-NEXT:  return
func.func @other(%x: tensor<2x2xf32>) -> tensor<2x2xf32> {
  %y = linalg.matmul ins(%x, %x : tensor<2x2xf32>, tensor<2x2xf32>) outs(%x : tensor<2x2xf32>)
      -> tensor<2x2xf32>
  return %y : tensor<2x2xf32>
}
