// RUN: not bspc-opt %s --bspc-reorder=workers=0 2>&1 | filecheck %s

// CHECK: bspc-reorder: workers = 0; use 1 or more
func.func @main() {
  return
}
