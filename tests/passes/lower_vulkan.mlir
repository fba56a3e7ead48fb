// RUN: bspc-opt %s --split-input-file --bspc-pack --bspc-lower-vulkan | filecheck %s
// RUN: bspc-opt %s --split-input-file --bspc-pack --bspc-lower-vulkan --bspc-lower-vulkan | filecheck %s

// Weights are vectors of four, a thread each. The kernel's code is tested by running it:
// tests/test_vulkan.py.
// CHECK:       func.func @rtmobile_matmul_0
// CHECK-SAME:  pipeline = #iree_gpu.spirv_pipeline<BaseLowering> workgroup_size = [1, 1, 1]
// CHECK:       memref<2xvector<4xf32>>
// CHECK-LABEL: func.func @matmul
// CHECK-NOT:   bspc.
// CHECK:       %[[Y:.*]] = "flow.dispatch"(%{{.*}}, %{{.*}}, %arg0, {{.*}}@rtmobile_matmul_0::@rtmobile_matmul_0
// CHECK-SAME:  tensor<2x4xf32>
// CHECK-SAME:  -> tensor<?x2xf32>
// CHECK-NOT:   bspc.
// CHECK:       return %[[Y]]
func.func @matmul(%x: tensor<?x3xf32>) -> tensor<?x2xf32> {
  %reorder = arith.constant dense<[1, 0]> : tensor<2xi32>
  %group_offset = arith.constant dense<[0, 2]> : tensor<2xi32>
  %column_offset = arith.constant dense<[0, 2]> : tensor<2xi32>
  %column_index = arith.constant dense<[0, 2]> : tensor<2xi16>
  %values = arith.constant dense<[1., 3., 0., 0., 2., 4., 0., 0.]> : tensor<8xf32>
  %y = "bspc.packed_matmul"(%x, %reorder, %group_offset, %column_offset, %column_index, %values)
      {name = "fc", row_align = 4 : i64, shape = array<i64: 2, 3>, weights = ["fc"]}
      : (tensor<?x3xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi16>, tensor<8xf32>)
      -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

// -----

// Layers that feed each other are one kernel; states and sums stand in shared memory.
// CHECK:       func.func @rtmobile_gru_0
// CHECK:       memref.alloc() : memref<2xf32, #gpu.address_space<workgroup>>
// CHECK:       memref.alloc() : memref<4xf32, #gpu.address_space<workgroup>>
// CHECK:       gpu.barrier
// CHECK-NOT:   func.func @rtmobile_gru_1
// CHECK-LABEL: func.func @stack
// CHECK:       %[[STEPS:.*]] = tensor.dim %arg0
// CHECK:       %[[Y:.*]]:2 = "flow.dispatch"(%[[STEPS]], {{.*}}@rtmobile_gru_0::@rtmobile_gru_0
// CHECK-SAME:  -> (tensor<?x1x1xf32>, tensor<2x1x1xf32>)
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
