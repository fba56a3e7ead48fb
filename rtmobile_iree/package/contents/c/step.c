// Loads a module and steps it, its state carried from step to step; IREE's runtime C API.
//
//   step MODULE.vmfb AXIS THRESHOLD X.npy STATE.npy... -- Y.npy [STATE_AFTER.npy...]
//
// The module's function is main(x, state...) -> (y, state...). X holds T steps along AXIS; the module
// is called T times with one of them, and each call's states are the next call's inputs, without a
// copy. The steps' y, one after the other, must be Y to THRESHOLD, and the last states those given.
// Steps must be contiguous in X, as they are at batch 1. Prints the largest difference and the time a
// step takes; exits with 1 when a difference is over the threshold or anything fails.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "iree/runtime/api.h"
#include "npy.h"

#define MAX_TENSORS 16

typedef struct {
  size_t axis;
  float threshold;
  size_t input_count;  // x and the states
  npy_t inputs[MAX_TENSORS];
  size_t expected_count;  // y and, if given, the states after the last step
  npy_t expected[MAX_TENSORS];
} task_t;

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

// A tensor on the device with the host's numbers.
static iree_status_t make_view(iree_runtime_session_t* session, size_t rank, const size_t* sizes,
                               const float* data, iree_hal_buffer_view_t** out) {
  iree_hal_dim_t shape[NPY_MAX_RANK];
  size_t count = 1;
  for (size_t i = 0; i < rank; ++i) {
    shape[i] = (iree_hal_dim_t)sizes[i];
    count *= sizes[i];
  }
  const iree_hal_buffer_params_t params = {
      .type = IREE_HAL_MEMORY_TYPE_DEVICE_LOCAL | IREE_HAL_MEMORY_TYPE_HOST_VISIBLE,
      .access = IREE_HAL_MEMORY_ACCESS_ALL,
      .usage = IREE_HAL_BUFFER_USAGE_DEFAULT | IREE_HAL_BUFFER_USAGE_MAPPING,
  };
  return iree_hal_buffer_view_allocate_buffer_copy(
      iree_runtime_session_device(session), iree_runtime_session_device_allocator(session), rank,
      shape, IREE_HAL_ELEMENT_TYPE_FLOAT_32, IREE_HAL_ENCODING_TYPE_DENSE_ROW_MAJOR, params,
      iree_make_const_byte_span(data, count * sizeof(float)), out);
}

static iree_status_t read_view(iree_runtime_session_t* session, iree_hal_buffer_view_t* view,
                               float* out, size_t count) {
  if (iree_hal_buffer_view_byte_length(view) != count * sizeof(float)) {
    return iree_make_status(IREE_STATUS_INVALID_ARGUMENT, "a result has another size than expected");
  }
  return iree_hal_device_transfer_d2h(
      iree_runtime_session_device(session), iree_hal_buffer_view_buffer(view), 0, out,
      count * sizeof(float), IREE_HAL_TRANSFER_BUFFER_FLAG_DEFAULT, iree_infinite_timeout());
}

static float difference(const float* a, const float* b, size_t count) {
  float most = 0;
  for (size_t i = 0; i < count; ++i) {
    float error = fabsf(a[i] - b[i]);
    if (!(error <= most)) most = error;  // a NaN stays
  }
  return most;
}

// One call: x's buffer holds the step, views[1..] the states; y is read, the states are replaced.
static iree_status_t step(iree_runtime_session_t* session, iree_runtime_call_t* call,
                          size_t view_count, iree_hal_buffer_view_t** views, float* y,
                          size_t y_count) {
  iree_runtime_call_reset(call);
  for (size_t i = 0; i < view_count; ++i) {
    IREE_RETURN_IF_ERROR(iree_runtime_call_inputs_push_back_buffer_view(call, views[i]));
  }
  IREE_RETURN_IF_ERROR(iree_runtime_call_invoke(call, 0));
  for (size_t i = 0; i < view_count; ++i) {
    iree_hal_buffer_view_t* result = NULL;
    IREE_RETURN_IF_ERROR(iree_runtime_call_outputs_pop_front_buffer_view(call, &result));
    if (i > 0) {
      iree_hal_buffer_view_release(views[i]);
      views[i] = result;
      continue;
    }
    iree_status_t status = read_view(session, result, y, y_count);
    iree_hal_buffer_view_release(result);
    IREE_RETURN_IF_ERROR(status);
  }
  return iree_ok_status();
}

static iree_status_t step_all(iree_runtime_session_t* session, iree_runtime_call_t* call,
                              const task_t* task, iree_hal_buffer_view_t** views, float* most,
                              double* time_us) {
  const npy_t* x = &task->inputs[0];
  const size_t steps = x->shape[task->axis];
  const size_t x_count = x->count / steps, y_count = task->expected[0].count / steps;
  size_t shape[NPY_MAX_RANK];
  memcpy(shape, x->shape, sizeof(shape));
  shape[task->axis] = 1;
  IREE_RETURN_IF_ERROR(make_view(session, x->rank, shape, x->data, &views[0]));
  for (size_t i = 1; i < task->input_count; ++i) {
    const npy_t* state = &task->inputs[i];
    IREE_RETURN_IF_ERROR(make_view(session, state->rank, state->shape, state->data, &views[i]));
  }
  float* y = malloc(task->expected[0].count * sizeof(float));
  if (!y) return iree_make_status(IREE_STATUS_RESOURCE_EXHAUSTED, "no memory");
  iree_status_t status = iree_ok_status();
  const double start = now_us();
  for (size_t t = 0; t < steps && iree_status_is_ok(status); ++t) {
    status = iree_hal_device_transfer_h2d(
        iree_runtime_session_device(session), x->data + t * x_count,
        iree_hal_buffer_view_buffer(views[0]), 0, x_count * sizeof(float),
        IREE_HAL_TRANSFER_BUFFER_FLAG_DEFAULT, iree_infinite_timeout());
    if (iree_status_is_ok(status)) {
      status = step(session, call, task->input_count, views, y + t * y_count, y_count);
    }
  }
  *time_us = (now_us() - start) / steps;
  *most = difference(y, task->expected[0].data, task->expected[0].count);
  free(y);
  return status;
}

// The states after the last step.
static iree_status_t compare_states(iree_runtime_session_t* session, const task_t* task,
                                    iree_hal_buffer_view_t** views, float* most) {
  for (size_t i = 1; i < task->expected_count; ++i) {
    const npy_t* expected = &task->expected[i];
    float* state = malloc(expected->count * sizeof(float));
    if (!state) return iree_make_status(IREE_STATUS_RESOURCE_EXHAUSTED, "no memory");
    iree_status_t status = read_view(session, views[i], state, expected->count);
    float error = difference(state, expected->data, expected->count);
    free(state);
    IREE_RETURN_IF_ERROR(status);
    if (!(error <= *most)) *most = error;
  }
  return iree_ok_status();
}

static iree_status_t run_session(iree_runtime_session_t* session, const char* module,
                                 const task_t* task, float* most) {
  IREE_RETURN_IF_ERROR(iree_runtime_session_append_bytecode_module_from_file(session, module));
  iree_runtime_call_t call;
  IREE_RETURN_IF_ERROR(iree_runtime_call_initialize_by_name(
      session, iree_make_cstring_view("module.main"), &call));
  iree_hal_buffer_view_t* views[MAX_TENSORS] = {NULL};
  double time_us = 0;
  iree_status_t status = step_all(session, &call, task, views, most, &time_us);
  if (iree_status_is_ok(status)) status = compare_states(session, task, views, most);
  for (size_t i = 0; i < task->input_count; ++i) iree_hal_buffer_view_release(views[i]);
  iree_runtime_call_deinitialize(&call);
  if (iree_status_is_ok(status)) {
    printf("%zu steps, %.1f us a step, largest difference %.1e\n", task->inputs[0].shape[task->axis],
           time_us, *most);
  }
  return status;
}

static iree_status_t run(const char* module, const task_t* task, float* most) {
  iree_runtime_instance_options_t options;
  iree_runtime_instance_options_initialize(&options);
  iree_runtime_instance_options_use_all_available_drivers(&options);
  iree_runtime_instance_t* instance = NULL;
  IREE_RETURN_IF_ERROR(
      iree_runtime_instance_create(&options, iree_allocator_system(), &instance));
  iree_hal_device_t* device = NULL;
  iree_runtime_session_t* session = NULL;
  // local-sync: the caller's own thread
  iree_status_t status = iree_runtime_instance_try_create_default_device(
      instance, iree_make_cstring_view("local-sync"), &device);
  if (iree_status_is_ok(status)) {
    iree_runtime_session_options_t session_options;
    iree_runtime_session_options_initialize(&session_options);
    status = iree_runtime_session_create_with_device(
        instance, &session_options, device, iree_runtime_instance_host_allocator(instance),
        &session);
  }
  if (iree_status_is_ok(status)) status = run_session(session, module, task, most);
  iree_runtime_session_release(session);
  iree_hal_device_release(device);
  iree_runtime_instance_release(instance);
  return status;
}

static int read_task(int argc, char** argv, task_t* task) {
  if (argc < 7) {
    fprintf(stderr, "usage: step MODULE.vmfb AXIS THRESHOLD X.npy STATE.npy... -- Y.npy ...\n");
    return -1;
  }
  task->axis = strtoul(argv[2], NULL, 10);
  task->threshold = strtof(argv[3], NULL);
  int is_expected = 0;
  for (int i = 4; i < argc; ++i) {
    if (!strcmp(argv[i], "--")) {
      is_expected = 1;
      continue;
    }
    size_t* count = is_expected ? &task->expected_count : &task->input_count;
    npy_t* tensors = is_expected ? task->expected : task->inputs;
    if (*count == MAX_TENSORS || npy_read(argv[i], &tensors[*count])) return -1;
    ++*count;
  }
  const npy_t* x = &task->inputs[0];
  if (!task->expected_count || task->expected_count > task->input_count || task->axis >= x->rank ||
      !x->shape[task->axis] || task->expected[0].count % x->shape[task->axis]) {
    fprintf(stderr, "the inputs, the expected outputs and the axis do not fit together\n");
    return -1;
  }
  return 0;
}

int main(int argc, char** argv) {
  task_t task = {0};
  float most = 0;
  int code = 1;
  if (!read_task(argc, argv, &task)) {
    iree_status_t status = run(argv[1], &task, &most);
    if (!iree_status_is_ok(status)) {
      iree_status_fprint(stderr, status);
      iree_status_free(status);
    } else {
      code = !(most <= task.threshold);
    }
  }
  for (size_t i = 0; i < task.input_count; ++i) free(task.inputs[i].data);
  for (size_t i = 0; i < task.expected_count; ++i) free(task.expected[i].data);
  return code;
}
