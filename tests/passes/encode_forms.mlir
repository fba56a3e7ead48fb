// RUN: bspc-opt %s --bspc-encode=threshold=1 | filecheck %s

// Every way in which torch-mlir writes a product with a constant matrix. test_encode.py runs the
// same functions before and after the passes.

#ij = affine_map<(d0, d1) -> (d0, d1)>
#ji = affine_map<(d0, d1) -> (d1, d0)>
#i = affine_map<(d0, d1) -> (d0)>
#j = affine_map<(d0, d1) -> (d1)>
#bij = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#ij_of_3 = affine_map<(d0, d1, d2) -> (d1, d2)>
#mk = affine_map<(d0, d1, d2) -> (d0, d2)>
#nk = affine_map<(d0, d1, d2) -> (d1, d2)>
#km = affine_map<(d0, d1, d2) -> (d2, d0)>
#kn = affine_map<(d0, d1, d2) -> (d2, d1)>
#mn = affine_map<(d0, d1, d2) -> (d0, d1)>
#bmk = affine_map<(d0, d1, d2, d3) -> (d0, d1, d3)>
#nk_of_4 = affine_map<(d0, d1, d2, d3) -> (d2, d3)>
#bmn = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2)>

// CHECK-LABEL: func.func @linear_2d
// CHECK-NOT:   = linalg.matmul
// CHECK-NOT:   = linalg.transpose
// CHECK:       arith.constant dense{{.*}} : tensor<3x5xf32, #bspc.encoding<{
// CHECK-SAME:  stage = "encoded"
// CHECK:       bspc.matmul{{.*}}-> tensor<?x3xf32>
func.func @linear_2d(%x: tensor<?x5xf32>) -> tensor<?x3xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %b = arith.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %e = tensor.empty() : tensor<5x3xf32>
  %wt = linalg.transpose ins(%w : tensor<3x5xf32>) outs(%e : tensor<5x3xf32>) permutation = [1, 0]
  %n = tensor.dim %x, %c0 : tensor<?x5xf32>
  %o = tensor.empty(%n) : tensor<?x3xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<?x3xf32>) -> tensor<?x3xf32>
  %y = linalg.matmul ins(%x, %wt : tensor<?x5xf32>, tensor<5x3xf32>)
      outs(%f : tensor<?x3xf32>) -> tensor<?x3xf32>
  %r = linalg.generic {indexing_maps = [#ij, #j, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%y, %b : tensor<?x3xf32>, tensor<3xf32>) outs(%o : tensor<?x3xf32>) {
  ^bb0(%p: f32, %q: f32, %out: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<?x3xf32>
  return %r : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @linear_3d
// CHECK-NOT:   = linalg.matmul
// CHECK:       bspc.matmul
// CHECK:       tensor.expand_shape
func.func @linear_3d(%x: tensor<?x7x5xf32>) -> tensor<?x7x3xf32> {
  %c0 = arith.constant 0 : index
  %c7 = arith.constant 7 : index
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %e = tensor.empty() : tensor<5x3xf32>
  %wt = linalg.transpose ins(%w : tensor<3x5xf32>) outs(%e : tensor<5x3xf32>) permutation = [1, 0]
  %flat = tensor.collapse_shape %x [[0, 1], [2]] : tensor<?x7x5xf32> into tensor<?x5xf32>
  %d = tensor.dim %x, %c0 : tensor<?x7x5xf32>
  %n = arith.muli %d, %c7 : index
  %o = tensor.empty(%n) : tensor<?x3xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<?x3xf32>) -> tensor<?x3xf32>
  %y = linalg.matmul ins(%flat, %wt : tensor<?x5xf32>, tensor<5x3xf32>)
      outs(%f : tensor<?x3xf32>) -> tensor<?x3xf32>
  %b = arith.divsi %n, %c7 : index
  %r = tensor.expand_shape %y [[0, 1], [2]] output_shape [%b, 7, 3]
      : tensor<?x3xf32> into tensor<?x7x3xf32>
  return %r : tensor<?x7x3xf32>
}

// CHECK-LABEL: func.func @linear_1d
// CHECK-NOT:   = linalg.matmul
// CHECK:       bspc.matmul{{.*}}-> tensor<1x3xf32>
func.func @linear_1d(%x: tensor<5xf32>) -> tensor<3xf32> {
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %e = tensor.empty() : tensor<5x3xf32>
  %wt = linalg.transpose ins(%w : tensor<3x5xf32>) outs(%e : tensor<5x3xf32>) permutation = [1, 0]
  %row = tensor.expand_shape %x [[0, 1]] output_shape [1, 5] : tensor<5xf32> into tensor<1x5xf32>
  %o = tensor.empty() : tensor<1x3xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<1x3xf32>) -> tensor<1x3xf32>
  %y = linalg.matmul ins(%row, %wt : tensor<1x5xf32>, tensor<5x3xf32>)
      outs(%f : tensor<1x3xf32>) -> tensor<1x3xf32>
  %r = tensor.collapse_shape %y [[0, 1]] : tensor<1x3xf32> into tensor<3xf32>
  return %r : tensor<3xf32>
}

// torch.matmul(w, x): the matrix stands on the left.
// CHECK-LABEL: func.func @constant_left
// CHECK-NOT:   = linalg.matmul
// CHECK:       = linalg.transpose
// CHECK:       bspc.matmul{{.*}}-> tensor<?x3xf32>
// CHECK:       = linalg.transpose
func.func @constant_left(%x: tensor<5x?xf32>) -> tensor<3x?xf32> {
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %n = tensor.dim %x, %c1 : tensor<5x?xf32>
  %o = tensor.empty(%n) : tensor<3x?xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<3x?xf32>) -> tensor<3x?xf32>
  %y = linalg.matmul ins(%w, %x : tensor<3x5xf32>, tensor<5x?xf32>)
      outs(%f : tensor<3x?xf32>) -> tensor<3x?xf32>
  return %y : tensor<3x?xf32>
}

// torch.mv: a product of all elements, then a sum along the rows.
// CHECK-LABEL: func.func @mv
// CHECK-NOT:   = linalg.generic
// CHECK:       bspc.matmul{{.*}}-> tensor<3xf32>
func.func @mv(%x: tensor<5xf32>) -> tensor<3xf32> {
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %e = tensor.empty() : tensor<3x5xf32>
  %p = linalg.generic {indexing_maps = [#ij, #j, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%w, %x : tensor<3x5xf32>, tensor<5xf32>) outs(%e : tensor<3x5xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %m = arith.mulf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<3x5xf32>
  %o = tensor.empty() : tensor<3xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<3xf32>) -> tensor<3xf32>
  %y = linalg.generic {indexing_maps = [#ij, #i], iterator_types = ["parallel", "reduction"]}
      ins(%p : tensor<3x5xf32>) outs(%f : tensor<3xf32>) {
  ^bb0(%a: f32, %out: f32):
    %s = arith.addf %a, %out : f32
    linalg.yield %s : f32
  } -> tensor<3xf32>
  return %y : tensor<3xf32>
}

// CHECK-LABEL: func.func @matvec
// CHECK-NOT:   = linalg.matvec
// CHECK:       bspc.matmul{{.*}}-> tensor<3xf32>
func.func @matvec(%x: tensor<5xf32>) -> tensor<3xf32> {
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %f = arith.constant dense<0.0> : tensor<3xf32>
  %y = linalg.matvec ins(%w, %x : tensor<3x5xf32>, tensor<5xf32>) outs(%f : tensor<3xf32>)
      -> tensor<3xf32>
  return %y : tensor<3xf32>
}

// CHECK-LABEL: func.func @vecmat
// CHECK-NOT:   = linalg.vecmat
// CHECK:       bspc.matmul{{.*}}tensor<5x3xf32, #bspc.encoding{{.*}}-> tensor<5xf32>
func.func @vecmat(%x: tensor<3xf32>) -> tensor<5xf32> {
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %f = arith.constant dense<0.0> : tensor<5xf32>
  %y = linalg.vecmat ins(%x, %w : tensor<3xf32>, tensor<3x5xf32>) outs(%f : tensor<5xf32>)
      -> tensor<5xf32>
  return %y : tensor<5xf32>
}

// torch.bmm with one matrix for the whole batch, of any size.
// CHECK-LABEL: func.func @bmm_any_batch
// CHECK-NOT:   = linalg.batch_matmul
// CHECK:       bspc.matmul{{.*}}-> tensor<?x7x3xf32>
func.func @bmm_any_batch(%x: tensor<?x7x5xf32>) -> tensor<?x7x3xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %e = tensor.empty() : tensor<5x3xf32>
  %wt = linalg.transpose ins(%w : tensor<3x5xf32>) outs(%e : tensor<5x3xf32>) permutation = [1, 0]
  %n = tensor.dim %x, %c0 : tensor<?x7x5xf32>
  %eb = tensor.empty(%n) : tensor<?x5x3xf32>
  %wb = linalg.generic {indexing_maps = [#ij_of_3, #bij],
      iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%wt : tensor<5x3xf32>) outs(%eb : tensor<?x5x3xf32>) {
  ^bb0(%a: f32, %out: f32):
    linalg.yield %a : f32
  } -> tensor<?x5x3xf32>
  %o = tensor.empty(%n) : tensor<?x7x3xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<?x7x3xf32>) -> tensor<?x7x3xf32>
  %y = linalg.batch_matmul ins(%x, %wb : tensor<?x7x5xf32>, tensor<?x5x3xf32>)
      outs(%f : tensor<?x7x3xf32>) -> tensor<?x7x3xf32>
  return %y : tensor<?x7x3xf32>
}

// CHECK-LABEL: func.func @bmm_broadcast
// CHECK-NOT:   = linalg.batch_matmul
// CHECK-NOT:   = linalg.broadcast
// CHECK:       bspc.matmul{{.*}}-> tensor<2x7x3xf32>
func.func @bmm_broadcast(%x: tensor<2x7x5xf32>) -> tensor<2x7x3xf32> {
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %e = tensor.empty() : tensor<5x3xf32>
  %wt = linalg.generic {indexing_maps = [#ij, #ji], iterator_types = ["parallel", "parallel"]}
      ins(%w : tensor<3x5xf32>) outs(%e : tensor<5x3xf32>) {
  ^bb0(%a: f32, %out: f32):
    linalg.yield %a : f32
  } -> tensor<5x3xf32>
  %eb = tensor.empty() : tensor<2x5x3xf32>
  %wb = linalg.broadcast ins(%wt : tensor<5x3xf32>) outs(%eb : tensor<2x5x3xf32>) dimensions = [0]
  %o = tensor.empty() : tensor<2x7x3xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<2x7x3xf32>) -> tensor<2x7x3xf32>
  %y = linalg.batch_matmul ins(%x, %wb : tensor<2x7x5xf32>, tensor<2x5x3xf32>)
      outs(%f : tensor<2x7x3xf32>) -> tensor<2x7x3xf32>
  return %y : tensor<2x7x3xf32>
}

// torch.einsum: the matrix goes through three reshapes, the batch is 1.
// CHECK-LABEL: func.func @einsum
// CHECK-NOT:   = linalg.batch_matmul
// CHECK:       bspc.matmul{{.*}}-> tensor<1x14x3xf32>
func.func @einsum(%x: tensor<1x14x5xf32>) -> tensor<1x14x3xf32> {
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %w4 = tensor.expand_shape %w [[0], [1, 2, 3]] output_shape [3, 5, 1, 1]
      : tensor<3x5xf32> into tensor<3x5x1x1xf32>
  %e = tensor.empty() : tensor<5x3x1x1xf32>
  %wt = linalg.transpose ins(%w4 : tensor<3x5x1x1xf32>) outs(%e : tensor<5x3x1x1xf32>)
      permutation = [1, 0, 2, 3]
  %w2 = tensor.collapse_shape %wt [[0], [1, 2, 3]] : tensor<5x3x1x1xf32> into tensor<5x3xf32>
  %w3 = tensor.expand_shape %w2 [[0, 1], [2]] output_shape [1, 5, 3]
      : tensor<5x3xf32> into tensor<1x5x3xf32>
  %o = tensor.empty() : tensor<1x14x3xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<1x14x3xf32>) -> tensor<1x14x3xf32>
  %y = linalg.batch_matmul ins(%x, %w3 : tensor<1x14x5xf32>, tensor<1x5x3xf32>)
      outs(%f : tensor<1x14x3xf32>) -> tensor<1x14x3xf32>
  return %y : tensor<1x14x3xf32>
}

// CHECK-LABEL: func.func @transposed_maps
// CHECK-NOT:   = linalg.matmul
// CHECK-COUNT-2: bspc.matmul
func.func @transposed_maps(%x: tensor<4x5xf32>, %t: tensor<5x4xf32>)
    -> (tensor<4x3xf32>, tensor<4x3xf32>) {
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %f = arith.constant dense<0.0> : tensor<4x3xf32>
  %y = linalg.matmul indexing_maps = [#mk, #nk, #mn]
      ins(%x, %w : tensor<4x5xf32>, tensor<3x5xf32>) outs(%f : tensor<4x3xf32>) -> tensor<4x3xf32>
  %z = linalg.matmul indexing_maps = [#km, #nk, #mn]
      ins(%t, %w : tensor<5x4xf32>, tensor<3x5xf32>) outs(%f : tensor<4x3xf32>) -> tensor<4x3xf32>
  return %y, %z : tensor<4x3xf32>, tensor<4x3xf32>
}

// CHECK-LABEL: func.func @generic
// CHECK-NOT:   = linalg.generic
// CHECK:       bspc.matmul{{.*}}-> tensor<2x?x3xf32>
func.func @generic(%x: tensor<2x?x5xf32>) -> tensor<2x?x3xf32> {
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %n = tensor.dim %x, %c1 : tensor<2x?x5xf32>
  %o = tensor.empty(%n) : tensor<2x?x3xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<2x?x3xf32>) -> tensor<2x?x3xf32>
  %y = linalg.generic {indexing_maps = [#bmk, #nk_of_4, #bmn],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<2x?x5xf32>, tensor<3x5xf32>) outs(%f : tensor<2x?x3xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %m = arith.mulf %a, %b : f32
    %s = arith.addf %out, %m : f32
    linalg.yield %s : f32
  } -> tensor<2x?x3xf32>
  return %y : tensor<2x?x3xf32>
}

// An accumulator that does not start from zeros is added.
// CHECK-LABEL: func.func @accumulate
// CHECK:       %[[Y:.*]] = "bspc.matmul"
// CHECK:       arith.addf %[[Y]], %arg1
func.func @accumulate(%x: tensor<4x5xf32>, %init: tensor<4x3xf32>) -> tensor<4x3xf32> {
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %y = linalg.matmul indexing_maps = [#mk, #nk, #mn]
      ins(%x, %w : tensor<4x5xf32>, tensor<3x5xf32>) outs(%init : tensor<4x3xf32>)
      -> tensor<4x3xf32>
  return %y : tensor<4x3xf32>
}

// One matrix, two users: neither sees the other's layout.
// CHECK-LABEL: func.func @shared
// CHECK:       bspc.matmul
// CHECK:       bspc.matmul
// CHECK:       return {{.*}}tensor<3x5xf32>
func.func @shared(%x: tensor<4x5xf32>, %t: tensor<4x3xf32>)
    -> (tensor<4x3xf32>, tensor<4x5xf32>, tensor<3x5xf32>) {
  %w = arith.constant dense<[[0., 0., 1., 0., 2.], [0., 0., 3., 0., 4.], [0., 0., 5., 0., 6.]]>
      : tensor<3x5xf32>
  %f = arith.constant dense<0.0> : tensor<4x3xf32>
  %g = arith.constant dense<0.0> : tensor<4x5xf32>
  %y = linalg.matmul indexing_maps = [#mk, #nk, #mn]
      ins(%x, %w : tensor<4x5xf32>, tensor<3x5xf32>) outs(%f : tensor<4x3xf32>) -> tensor<4x3xf32>
  %z = linalg.matmul ins(%t, %w : tensor<4x3xf32>, tensor<3x5xf32>)
      outs(%g : tensor<4x5xf32>) -> tensor<4x5xf32>
  return %y, %z, %w : tensor<4x3xf32>, tensor<4x5xf32>, tensor<3x5xf32>
}
