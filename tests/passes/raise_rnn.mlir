// RUN: bspc-opt %s --bspc-raise-rnn | FileCheck %s

// Two layers, any number of steps: one op each, the state threaded through.
func.func @two_layers(%x: !torch.vtensor<[?,1,4],f32>, %state: !torch.vtensor<[2,1,6],f32>,
    %w_ih0: !torch.vtensor<[18,4],f32>, %w_ih1: !torch.vtensor<[18,6],f32>,
    %w_hh: !torch.vtensor<[18,6],f32>, %b: !torch.vtensor<[18],f32>)
    -> (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[2,1,6],f32>) {
  %int0 = torch.constant.int 0
  %int1 = torch.constant.int 1
  %l0 = torch.constant.str "gru.l0"
  %l1 = torch.constant.str "gru.l1"
  %0:2 = torch.operator "torch.rtmobile.gru"(%x, %state, %w_ih0, %w_hh, %b, %b, %int0, %l0)
      : (!torch.vtensor<[?,1,4],f32>, !torch.vtensor<[2,1,6],f32>, !torch.vtensor<[18,4],f32>,
         !torch.vtensor<[18,6],f32>, !torch.vtensor<[18],f32>, !torch.vtensor<[18],f32>,
         !torch.int, !torch.str) -> (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[2,1,6],f32>)
  %1:2 = torch.operator "torch.rtmobile.gru"(%0#0, %0#1, %w_ih1, %w_hh, %b, %b, %int1, %l1)
      : (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[2,1,6],f32>, !torch.vtensor<[18,6],f32>,
         !torch.vtensor<[18,6],f32>, !torch.vtensor<[18],f32>, !torch.vtensor<[18],f32>,
         !torch.int, !torch.str) -> (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[2,1,6],f32>)
  return %1#0, %1#1 : !torch.vtensor<[?,1,6],f32>, !torch.vtensor<[2,1,6],f32>
}

// CHECK-LABEL: func.func @two_layers
// CHECK-NOT:   torch.operator
// CHECK:       torch_c.to_builtin_tensor {{.*}} -> tensor<?x1x4xf32>
// CHECK:       bspc.gru{{.*}}layer = 0 : i64, name = "gru.l0"
// CHECK-SAME:  tensor<?x1x4xf32>, tensor<2x1x6xf32>, tensor<18x4xf32>, tensor<18x6xf32>
// CHECK-SAME:  tensor<18xf32>, tensor<18xf32>) -> (tensor<?x1x6xf32>, tensor<2x1x6xf32>)
// CHECK:       torch_c.from_builtin_tensor {{.*}} : tensor<?x1x6xf32>
// CHECK:       bspc.gru{{.*}}layer = 1 : i64, name = "gru.l1"
// CHECK-NOT:   torch.operator

// No match: another custom op stays.
func.func @other_operator(%x: !torch.vtensor<[4],f32>) -> !torch.vtensor<[4],f32> {
  %0 = torch.operator "torch.other.gru"(%x)
      : (!torch.vtensor<[4],f32>) -> !torch.vtensor<[4],f32>
  return %0 : !torch.vtensor<[4],f32>
}

// CHECK-LABEL: func.func @other_operator
// CHECK:       torch.operator "torch.other.gru"
// CHECK-NOT:   bspc.gru

// An LSTM hands on two states; with a projection it has three weights.
func.func @lstm(%x: !torch.vtensor<[?,1,4],f32>, %h: !torch.vtensor<[1,1,6],f32>,
    %hp: !torch.vtensor<[1,1,2],f32>, %c: !torch.vtensor<[1,1,6],f32>,
    %w_ih: !torch.vtensor<[24,4],f32>, %w_hh: !torch.vtensor<[24,6],f32>,
    %w_hp: !torch.vtensor<[24,2],f32>, %w_hr: !torch.vtensor<[2,6],f32>,
    %b: !torch.vtensor<[24],f32>)
    -> (!torch.vtensor<[1,1,6],f32>, !torch.vtensor<[?,1,2],f32>) {
  %int0 = torch.constant.int 0
  %l0 = torch.constant.str "lstm.l0"
  %0:3 = torch.operator "torch.rtmobile.lstm"(%x, %h, %c, %w_ih, %w_hh, %b, %b, %int0, %l0)
      : (!torch.vtensor<[?,1,4],f32>, !torch.vtensor<[1,1,6],f32>, !torch.vtensor<[1,1,6],f32>,
         !torch.vtensor<[24,4],f32>, !torch.vtensor<[24,6],f32>, !torch.vtensor<[24],f32>,
         !torch.vtensor<[24],f32>, !torch.int, !torch.str)
      -> (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[1,1,6],f32>, !torch.vtensor<[1,1,6],f32>)
  %1:3 = torch.operator "torch.rtmobile.lstmp"(
      %x, %hp, %c, %w_ih, %w_hp, %w_hr, %b, %b, %int0, %l0)
      : (!torch.vtensor<[?,1,4],f32>, !torch.vtensor<[1,1,2],f32>, !torch.vtensor<[1,1,6],f32>,
         !torch.vtensor<[24,4],f32>, !torch.vtensor<[24,2],f32>, !torch.vtensor<[2,6],f32>,
         !torch.vtensor<[24],f32>, !torch.vtensor<[24],f32>, !torch.int, !torch.str)
      -> (!torch.vtensor<[?,1,2],f32>, !torch.vtensor<[1,1,2],f32>, !torch.vtensor<[1,1,6],f32>)
  return %0#2, %1#0 : !torch.vtensor<[1,1,6],f32>, !torch.vtensor<[?,1,2],f32>
}

// CHECK-LABEL: func.func @lstm
// CHECK-NOT:   torch.operator
// CHECK:       bspc.lstm{{.*}}layer = 0 : i64, name = "lstm.l0"
// CHECK-SAME:  -> (tensor<?x1x6xf32>, tensor<1x1x6xf32>, tensor<1x1x6xf32>)
// CHECK:       bspc.lstmp{{.*}}layer = 0 : i64, name = "lstm.l0"
// CHECK-SAME:  tensor<24x2xf32>, tensor<2x6xf32>, tensor<24xf32>, tensor<24xf32>)
// CHECK-SAME:  -> (tensor<?x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x6xf32>)
// CHECK-NOT:   torch.operator

func.func @plain(%x: !torch.vtensor<[?,1,6],f32>, %h: !torch.vtensor<[1,1,6],f32>,
    %w: !torch.vtensor<[6,6],f32>, %b: !torch.vtensor<[6],f32>) -> !torch.vtensor<[?,1,6],f32> {
  %int0 = torch.constant.int 0
  %l0 = torch.constant.str "rnn.l0"
  %0:2 = torch.operator "torch.rtmobile.rnn_tanh"(%x, %h, %w, %w, %b, %b, %int0, %l0)
      : (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[1,1,6],f32>, !torch.vtensor<[6,6],f32>,
         !torch.vtensor<[6,6],f32>, !torch.vtensor<[6],f32>, !torch.vtensor<[6],f32>,
         !torch.int, !torch.str) -> (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[1,1,6],f32>)
  %1:2 = torch.operator "torch.rtmobile.rnn_relu"(%0#0, %0#1, %w, %w, %b, %b, %int0, %l0)
      : (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[1,1,6],f32>, !torch.vtensor<[6,6],f32>,
         !torch.vtensor<[6,6],f32>, !torch.vtensor<[6],f32>, !torch.vtensor<[6],f32>,
         !torch.int, !torch.str) -> (!torch.vtensor<[?,1,6],f32>, !torch.vtensor<[1,1,6],f32>)
  return %1#0 : !torch.vtensor<[?,1,6],f32>
}

// CHECK-LABEL: func.func @plain
// CHECK:       bspc.rnn_tanh{{.*}} -> (tensor<?x1x6xf32>, tensor<1x1x6xf32>)
// CHECK:       bspc.rnn_relu{{.*}} -> (tensor<?x1x6xf32>, tensor<1x1x6xf32>)
// CHECK-NOT:   torch.operator
