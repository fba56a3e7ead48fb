// Reads a .npy file of row-major f32: format 1 to 3, as NumPy writes it.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#ifndef RTMOBILE_NPY_H_
#define RTMOBILE_NPY_H_

#include <stddef.h>

#define NPY_MAX_RANK 8

typedef struct {
  float* data;  // malloc'ed; free() it
  size_t rank;
  size_t shape[NPY_MAX_RANK];
  size_t count;  // product of the shape
} npy_t;

// Returns 0, or -1 after a line on stderr.
int npy_read(const char* path, npy_t* out);

#endif  // RTMOBILE_NPY_H_
