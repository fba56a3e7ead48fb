// RUN: bspc-opt %s --bspc-pack '--bspc-lower-vulkan=kernel=per-step' | filecheck %s

// One kernel a step of both layers, called in loops whose runs halve; h has two slots, then comes x.
// CHECK:       func.func @rtmobile_gru_0_step
// CHECK:       gpu.barrier
// CHECK-NOT:   gpu.barrier
// CHECK-LABEL: func.func @stack
// CHECK-DAG:   %[[STEPS:.*]] = tensor.dim %arg0
// CHECK-DAG:   "flow.tensor.empty"(%{{.*}}) : (index) -> tensor<?xf32>
// CHECK:       "flow.tensor.update"
// CHECK:       "flow.tensor.update"
// CHECK-COUNT-5: scf.for
// CHECK-NOT:   scf.for
// CHECK:       %[[SLOT:.*]] = "flow.tensor.slice"
// CHECK:       %[[H:.*]] = "flow.tensor.reshape"(%[[SLOT]])
// CHECK:       return %{{.*}}, %[[H]]
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
