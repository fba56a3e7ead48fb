// A plugin of QEMU's user emulation that counts the instructions a program runs.
//
// Usage: qemu-aarch64 -plugin libcount.so,out=FILE PROGRAM; FILE gets one decimal number. QEMU's
// documentation: docs/devel/tcg-plugins.rst. What is declared here is that interface; it has not
// changed from QEMU 6 to 10 but for its number, which the build gives as PLUGIN_VERSION.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef void (*translated_fn)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed_fn)(unsigned int, void *);
typedef void (*exited_fn)(qemu_plugin_id_t, void *);
enum { NO_REGISTERS = 0 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated_fn);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed_fn, int, void *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exited_fn, void *);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

static uint64_t count;
static char *path;

static void executed(unsigned int cpu, void *instructions) {
  __atomic_fetch_add(&count, (uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  uintptr_t instructions = qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, (void *)instructions);
}

static void exited(qemu_plugin_id_t id, void *unused) {
  FILE *file = fopen(path, "w");
  if (!file) return;
  fprintf(file, "%" PRIu64 "\n", count);
  fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const void *info, int argc, char **argv) {
  for (int i = 0; i < argc; ++i) {
    if (!strncmp(argv[i], "out=", 4)) path = strdup(argv[i] + 4);
  }
  if (!path) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, exited, NULL);
  return 0;
}
