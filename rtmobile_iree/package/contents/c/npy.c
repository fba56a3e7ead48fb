#include "npy.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char* path, const char* why) {
  fprintf(stderr, "%s: %s\n", path, why);
  return -1;
}

// The header is a Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (1, 30, 40), }
static int parse_header(const char* path, const char* header, npy_t* out) {
  if (!strstr(header, "'<f4'")) return fail(path, "holds no little-endian f32");
  if (!strstr(header, "'fortran_order': False")) return fail(path, "is not row-major");
  const char* at = strstr(header, "'shape': (");
  if (!at) return fail(path, "has no shape");
  at += strlen("'shape': (");
  out->rank = 0;
  out->count = 1;
  while (*at && *at != ')') {
    char* end = NULL;
    unsigned long size = strtoul(at, &end, 10);
    if (end == at || out->rank == NPY_MAX_RANK) return fail(path, "has an unreadable shape");
    out->shape[out->rank++] = size;
    out->count *= size;
    at = end + strspn(end, ", ");
  }
  return 0;
}

static int read_open(const char* path, FILE* file, npy_t* out) {
  unsigned char start[12];
  if (fread(start, 1, 10, file) != 10 || memcmp(start, "\x93NUMPY", 6)) {
    return fail(path, "is no .npy file");
  }
  size_t size = start[8] | start[9] << 8;
  if (start[6] > 1) {
    if (fread(start + 10, 1, 2, file) != 2) return fail(path, "is cut short");
    size |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
  }
  char* header = calloc(size + 1, 1);
  if (!header) return fail(path, "no memory");
  int status = fread(header, 1, size, file) == size ? parse_header(path, header, out)
                                                    : fail(path, "is cut short");
  free(header);
  if (status) return status;
  out->data = malloc(out->count * sizeof(float) + 1);
  if (!out->data) return fail(path, "no memory");
  if (fread(out->data, sizeof(float), out->count, file) == out->count) return 0;
  free(out->data);
  out->data = NULL;
  return fail(path, "is cut short");
}

int npy_read(const char* path, npy_t* out) {
  memset(out, 0, sizeof(*out));
  FILE* file = fopen(path, "rb");
  if (!file) return fail(path, "cannot be opened");
  int status = read_open(path, file, out);
  fclose(file);
  return status;
}
